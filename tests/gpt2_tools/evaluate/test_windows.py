"""windows: small ones by hand, and Hugging Face's loop, with its masks, as the oracle of all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_tools.evaluate.windows import Window, omz_windows, strided_windows


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (3, []),
        (4, [(0, 4, 1)]),
        (7, [(0, 4, 1)]),
        (9, [(0, 4, 1), (4, 8, 5)]),
    ],
)
def test_open_model_zoos_are_disjoint_and_drop_the_rest(tokens, expected):
    assert omz_windows(tokens, 4) == [Window(*window) for window in expected]


@pytest.mark.parametrize(
    ("tokens", "stride", "expected"),
    [
        (1, 2, []),
        (2, 2, [(0, 2, 1)]),
        (4, 2, [(0, 4, 1)]),
        (7, 2, [(0, 4, 1), (2, 6, 4), (4, 7, 6)]),
        (7, 4, [(0, 4, 1), (4, 7, 5)]),
        (9, 4, [(0, 4, 1), (4, 8, 5)]),  # the ninth has nothing before it
        (6, 1, [(0, 4, 1), (1, 5, 4), (2, 6, 5)]),
    ],
)
def test_hugging_faces_overlap_and_keep_the_rest(tokens, stride, expected):
    assert strided_windows(tokens, 4, stride) == [Window(*window) for window in expected]


@given(st.integers(0, 60), st.integers(2, 12), st.integers(1, 12))
def test_they_score_what_hugging_faces_masks_leave(tokens, context, stride):
    stride = min(stride, context)
    windows = strided_windows(tokens, context, stride)
    assert [(w.start, w.end, list(range(w.scored, w.end))) for w in windows] == hugging_face(tokens, context, stride)
    assert [w.count() for w in windows] == [w.end - w.scored for w in windows]


@given(st.integers(0, 60), st.integers(2, 12))
def test_with_a_stride_of_the_context_the_two_differ_in_the_rest_alone(tokens, context):
    ours, theirs = omz_windows(tokens, context), strided_windows(tokens, context, context)
    assert theirs[: len(ours)] == ours
    assert len(theirs) - len(ours) <= 1


@given(st.integers(2, 60), st.integers(3, 12), st.data())
def test_windows_that_overlap_score_each_token_but_the_first_once(tokens, context, data):
    stride = data.draw(st.integers(1, context - 1))
    scored = [t for w in strided_windows(tokens, context, stride) for t in range(w.scored, w.end)]
    assert scored == list(range(1, tokens))


def hugging_face(tokens: int, context: int, stride: int) -> list[tuple[int, int, list[int]]]:
    """Their documentation's loop: labels of -100 do not count, and the first label of a window is shifted away."""
    found, previous = [], 0
    for begin in range(0, tokens, stride):
        end = min(begin + context, tokens)
        labels = list(range(begin, end))
        masked = len(labels) - (end - previous)
        labels[:masked] = [-100] * masked
        counted = [label for label in labels[1:] if label != -100]
        found.append((begin, end, counted))
        previous = end
        if end == tokens:
            break
    return [window for window in found if window[2]]
