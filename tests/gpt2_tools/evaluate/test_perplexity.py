"""perplexity: numbers by hand, and toys judged by numpy in f64 with both protocols."""

import math

import numpy as np
import pytest

from gpt2_tools.evaluate.perplexity import Losses, losses_of, window_logprobs
from gpt2_tools.evaluate.scorer import Scores, load_scorer
from gpt2_tools.evaluate.windows import Window, omz_windows, strided_windows
from support.toy import Toy

LN2 = math.log(2)


def logprobs(*probabilities: float) -> np.ndarray:
    return np.log(np.array(probabilities, np.float32))


def passed_on(items, total):
    return items


class Recorder:
    """A score of -(the token) - (its place in the row) / 100, exact in f32 for what is used; it keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[list[list[int]]] = []

    def __call__(self, tokens):
        self.seen.append(tokens.tolist())
        places = np.arange(1, tokens.shape[1])
        return Scores((-tokens[:, 1:] - places / 128).astype(np.float32), np.zeros(tokens[:, 1:].shape, bool))


def test_figures_by_hand():
    """Losses of 1 and 3 ln 2: the mean is 2 ln 2; the standard error of it ln 2, and 4 ln 2 that of exp."""
    losses = Losses().plus(logprobs(1 / 2)).plus(logprobs(1 / 8))
    assert (losses.windows, losses.count) == (2, 2)
    assert losses.mean == pytest.approx(2 * LN2)
    assert losses.perplexity == pytest.approx(4)
    assert losses.perplexity_stderr == pytest.approx(4 * LN2, rel=1e-6)
    assert losses.perplexity_per(1.5) == pytest.approx(8)
    assert losses.bits_per(0.25) == pytest.approx(0.5)


def test_a_window_of_many_tokens_counts_for_many():
    losses = Losses().plus(logprobs(1 / 2, 1 / 2, 1 / 2)).plus(logprobs(1 / 32))
    assert losses.perplexity == pytest.approx(2 ** ((3 + 5) / 4))
    assert losses.windows == 2


def test_without_a_spread_there_is_no_error_and_of_one_token_none_is_known():
    assert Losses().plus(logprobs(1 / 4, 1 / 4, 1 / 4)).perplexity_stderr == pytest.approx(0, abs=1e-6)
    assert Losses().plus(logprobs(1 / 4)).perplexity_stderr is None


def test_what_no_float_holds_is_infinite():
    losses = Losses().plus(np.array([-800, -801], np.float32))
    assert losses.perplexity == math.inf
    assert Losses().plus(np.array([-8, -8], np.float32)).perplexity_per(1e6) == math.inf


def test_only_the_tokens_that_count_are_returned():
    recorder = Recorder()
    windows = [Window(0, 4, 1), Window(2, 6, 4), Window(4, 7, 6)]
    found = list(window_logprobs(recorder, np.arange(10, 17), windows))
    assert recorder.seen == [[[10, 11, 12, 13]], [[12, 13, 14, 15]], [[14, 15, 16]]]
    assert [window.tolist() for window in found] == [
        [-11 - 1 / 128, -12 - 2 / 128, -13 - 3 / 128],
        [-14 - 2 / 128, -15 - 3 / 128],
        [-16 - 2 / 128],
    ]


def test_windows_of_a_batch_are_padded_on_the_right():
    recorder = Recorder()
    windows = [Window(0, 4, 1), Window(2, 6, 4), Window(4, 7, 6)]
    tokens = np.arange(10, 17)
    found = [window.tolist() for window in window_logprobs(recorder, tokens, windows, batch=2)]
    assert recorder.seen == [[[10, 11, 12, 13], [12, 13, 14, 15]], [[14, 15, 16]]]
    assert found == [window.tolist() for window in window_logprobs(Recorder(), tokens, windows)]
    whole = Recorder()
    assert [window.tolist() for window in window_logprobs(whole, tokens, windows, batch=8)] == found
    assert whole.seen == [[[10, 11, 12, 13], [12, 13, 14, 15], [14, 15, 16, 0]]]


def test_ctrl_c_leaves_the_windows_before():
    def interrupted_at(stop: int):
        def counted(items, total):
            assert total == 3
            for i, item in enumerate(items):
                if i == stop:
                    raise KeyboardInterrupt
                yield item

        return counted

    windows = omz_windows(12, 4)
    losses, interrupted = losses_of(Recorder(), np.arange(12), windows, 1, interrupted_at(2))
    assert (losses.windows, losses.count, interrupted) == (2, 6, True)
    losses, interrupted = losses_of(Recorder(), np.arange(12), windows, 1, passed_on)
    assert (losses.windows, interrupted) == (3, False)
    with pytest.raises(KeyboardInterrupt):
        losses_of(Recorder(), np.arange(12), windows, 1, interrupted_at(0))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stride", [None, 5, 16])
def test_a_toys_perplexity_is_numpys(tmp_path, stride, batch):
    toy = Toy(seed=2)
    tokens = np.random.default_rng(1).integers(0, toy.vocab_size, 70)
    windows = omz_windows(70, 16) if stride is None else strided_windows(70, 16, stride)
    losses, _ = losses_of(load_scorer(toy.ir(tmp_path)).score, tokens, windows, batch, passed_on)
    expected = [loss for window in windows for loss in numpy_losses(toy, tokens, window)]
    assert losses.count == len(expected)
    assert losses.perplexity == pytest.approx(np.exp(np.mean(expected)), rel=1e-5)
    stderr = np.exp(np.mean(expected)) * np.std(expected, ddof=1) / len(expected) ** 0.5
    assert losses.perplexity_stderr == pytest.approx(stderr, rel=1e-4)


def numpy_losses(toy: Toy, tokens, window: Window) -> list[float]:
    logits = toy.logits(tokens[window.start : window.end])
    found = []
    for place in range(window.scored, window.end):
        row = logits[place - window.start - 1]
        found.append(float(row.max() + np.log(np.exp(row - row.max()).sum()) - row[tokens[place]]))
    return found
