"""plot: a picture appears complete and shows its labels; what cannot be drawn is reported before measuring."""

import re

import pytest

from gpt2_tools.benchmark.engine.scaling import Curve
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.plot import check_plot, draw
from gpt2_tools.common.problem import Problem
from omz_model_tools.common.problem import Problem as DiskProblem

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.extras("matplotlib")

PANELS = [
    [Curve("at {x}", "tokens before it", "ms per token", {x: Figure("ms", (1.0 * x, 2.0 * x)) for x in range(1, 10)})],
    [
        Curve(f"on {{x}}, {label}", "threads", "tokens/s", {n: Figure("tokens/s", (10.0 * n,)) for n in (1, 40)}, label)
        for label in ("ours", "theirs")
    ],
]


@pytest.mark.parametrize(("name", "begin"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_it_is_of_the_kind_that_its_name_says(tmp_path, name, begin):
    check_plot(tmp_path / name)
    draw(PANELS, "title", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_its_labels_are_in_it(tmp_path):
    draw(PANELS, "a title", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    labels = ("a title", "tokens before it", "threads", "tokens/s", "ours", "theirs", "40")
    assert all(f"<!-- {label} -->" in text for label in labels)
    assert text.count("<!-- 1 -->") == 0  # a tick that would touch the axis


def test_more_panels_than_fit_beside_each_other_come_in_rows(tmp_path):
    draw([PANELS[0]] * 6, "six", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text.count("<!-- tokens before it -->") == 6
    width, height = (float(re.search(rf'{side}="([0-9.]+)pt"', text)[1]) for side in ("width", "height"))
    assert (width, height) == (3 * 4.2 * 72, (2 * 3.4 + 0.4) * 72)


def test_one_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    (tmp_path / ".a.png.new").mkdir()
    with pytest.raises(DiskProblem, match=r"a\.png: "):
        draw(PANELS, "title", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a file that ends in .png, .svg, .pdf"),
        ("a", "a file that ends in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_drawn_is_reported_beforehand(tmp_path, name, expected):
    with pytest.raises(Problem) as caught:
        check_plot(tmp_path / name)
    assert str(caught.value) == f"--plot: expected {expected}, got {tmp_path / name}"


def test_a_picture_replaces_a_file_alone(tmp_path):
    (tmp_path / "a.png").symlink_to("b.png")
    with pytest.raises(DiskProblem, match=r"a\.png: expected a file or nothing, got a symbolic link"):
        check_plot(tmp_path / "a.png")
    with pytest.raises(DiskProblem, match=r"gone/a\.png: expected a file in an existing folder"):
        check_plot(tmp_path / "gone/a.png")
