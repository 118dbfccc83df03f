"""Shapes in Model Optimizer's notation, parsed; and a round trip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.convert.onnx.shapes import parse_shapes


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("[1,1024]", [[(1, 1), (1024, 1024)]]),
        ("[1, 1, 1024]", [[(1, 1), (1, 1), (1024, 1024)]]),
        ("[1 3 8]", [[(1, 1), (3, 3), (8, 8)]]),
        ("[?,1..1024]", [[(0, -1), (1, 1024)]]),
        ("[-1,..7,2..]", [[(0, -1), (0, 7), (2, -1)]]),
        ("[1,2],[3]", [[(1, 1), (2, 2)], [(3, 3)]]),
        ("[1,2] , [?]", [[(1, 1), (2, 2)], [(0, -1)]]),
    ],
)
def test_what_is_a_shape(text, shapes):
    assert parse_shapes(text) == shapes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2",
        "[]",
        "[1,]",
        "[1,2",
        "[1]]",
        "[1][2]",
        "[a]",
        "[-2]",
        "[..]",
        "[5..2]",
        "[1.5]",
        "[²]",
        "[,2]",
        "[0,1]",
        "[1000000000]",
    ],
)
def test_what_is_none(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_shapes(text)


BOUNDS = st.tuples(st.integers(0, 2000), st.integers(0, 2000)).map(sorted) | st.tuples(st.integers(0, 99), st.just(-1))


@given(st.lists(st.lists(BOUNDS, min_size=1, max_size=5), min_size=1, max_size=3))
def test_written_and_read_back(shapes):
    text = ",".join(f"[{','.join(f'{a}..{b if b >= 0 else str()}' for a, b in shape)}]" for shape in shapes)
    assert parse_shapes(text) == [[tuple(bounds) for bounds in shape] for shape in shapes]
