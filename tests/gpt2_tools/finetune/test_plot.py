"""plot: loss.png is a picture of the log, and the smoothed line is what it says."""

import pytest

from gpt2_tools.finetune.plot import draw_losses, smoothed

ENTRIES = [{"step": i, "loss": 5 - i / 10} for i in range(1, 20)] + [{"step": 0, "eval_loss": 5.0}]


@pytest.mark.extras("matplotlib")
@pytest.mark.parametrize("entries", [ENTRIES, ENTRIES[:1], ENTRIES[-1:], []], ids=["both", "one", "evaluation", "none"])
def test_a_picture_is_drawn(tmp_path, entries):
    draw_losses(entries, "run1", tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


def test_the_smoothed_line_begins_with_the_first_loss_and_follows():
    assert smoothed([4.0]) == [4.0]
    assert smoothed([4.0, 2.0])[1] == pytest.approx((4 * 0.9 + 2) / 1.9)
