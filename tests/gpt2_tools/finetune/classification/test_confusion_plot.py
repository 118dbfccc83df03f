"""confusion_plot: a picture of one to more labels than are drawn, with names of any kind."""

import numpy as np
import pytest

from gpt2_tools.finetune.classification.confusion_plot import draw_confusion, shortened


@pytest.mark.extras("matplotlib")
@pytest.mark.parametrize("count", [1, 2, 40, 60])
def test_a_picture_is_drawn(tmp_path, count):
    labels = [f"label $x_{i}$\n猫{'!' * i}" for i in range(count)]
    draw_confusion(np.diag(np.arange(count) * 10_000), labels, "run1", tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]


def test_a_long_name_is_shortened_to_a_line():
    assert shortened("a\nb") == "a b"
    assert shortened("x" * 32) == "x" * 32
    assert shortened("x" * 33) == "x" * 31 + "…"
