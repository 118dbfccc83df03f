"""Our penalties, bans and kept tokens against transformers' processors, in the order in which it applies them.

On random logits and on hostile ones: equal, tied, impossible, huge, and temperatures at the ends of f32.
"""

import itertools

import numpy as np
import pytest

from gpt2_text_prediction import Problem, Sampling
from gpt2_text_prediction.generation.logits_processors import History, process
from gpt2_text_prediction.generation.sampling import choose, probabilities

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers.generation import logits_process as theirs  # noqa: E402

pytestmark = pytest.mark.extras("torch", "transformers")

INF = float("inf")
EOS = 3
BANS_AND_PENALTIES = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.4},
    {"presence_penalty": 1.5},
    {"frequency_penalty": -0.7},
    {"presence_penalty": -2, "frequency_penalty": 2},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 50},
    {"logit_bias": {0: 2.5, 7: -INF, 5: -100}},
    {"bad_words_ids": [[1], [2, 4], [0, 1, 2], [5, 5], [EOS], [EOS, 1], [*range(11), 0]]},
    {"min_new_tokens": 5},
    {
        "repetition_penalty": 1.7,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
        "no_repeat_ngram_size": 2,
        "logit_bias": {1: 3.0, 2: -1.25},
        "bad_words_ids": [[0], [1, 2]],
        "min_new_tokens": 4,
    },
]
KEPT = [
    {"temperature": temperature, **dict(zip(("top_k", "top_p", "min_p", "typical_p"), values, strict=True))}
    for temperature, values in itertools.product(
        (0.3, 1.0, 4.0),
        [
            (0, 1.0, 0.0, 1.0),
            (4, 1.0, 0.0, 1.0),
            (0, 0.7, 0.0, 1.0),
            (0, 1.0, 0.1, 1.0),
            (0, 1.0, 1.0, 1.0),
            (0, 1.0, 0.0, 0.5),
            (0, 1.0, 0.0, 0.05),
            (0, 0.8, 0.1, 1.0),
            (0, 0.8, 0.0, 0.6),
            (6, 0.9, 0.05, 0.7),
            (6, 0.001, 0.0, 0.9),
        ],
    )
]


class OpenAIPenalties(theirs.LogitsProcessor):
    """What OpenAI documents and vLLM does; transformers has none."""

    def __init__(self, presence: float, frequency: float, prompt_length: int) -> None:
        self.presence, self.frequency, self.prompt_length = presence, frequency, prompt_length

    def __call__(self, input_ids, scores):
        counts = torch.nn.functional.one_hot(input_ids[:, self.prompt_length :], scores.shape[-1]).sum(1)
        return scores - counts.float() * self.frequency - (counts > 0).float() * self.presence


def their_processors(sampling: Sampling, history: History) -> list:
    """Return what GenerationMixin._get_logits_processor would, with OpenAI's penalties where vLLM has them."""
    found = []
    if sampling.logit_bias:
        found.append(theirs.SequenceBiasLogitsProcessor({(i,): float(b) for i, b in sampling.logit_bias.items()}))
    if sampling.repetition_penalty != 1:
        found.append(theirs.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    found.append(OpenAIPenalties(sampling.presence_penalty, sampling.frequency_penalty, len(history.prompt)))
    if sampling.no_repeat_ngram_size:
        found.append(theirs.NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram_size))
    if sampling.bad_words_ids:
        words = [list(word) for word in sampling.bad_words_ids]
        found.append(theirs.NoBadWordsLogitsProcessor(words, list(history.ending_ids) or None))
    if sampling.min_new_tokens and history.ending_ids:
        found.append(
            theirs.MinNewTokensLengthLogitsProcessor(
                len(history.prompt), sampling.min_new_tokens, list(history.ending_ids)
            )
        )
    return found


def their_scores(logits: np.ndarray, sampling: Sampling, history: History) -> np.ndarray:  # [V] -> [V]
    ids = torch.tensor([[*history.prompt, *history.new]], dtype=torch.int64)
    scores = theirs.LogitsProcessorList(their_processors(sampling, history))(ids, torch.from_numpy(logits)[None])
    return scores[0].numpy()


def their_kept(logits: np.ndarray, sampling: Sampling, slack: float) -> np.ndarray:  # [V] -> [V]
    """Return the probabilities behind transformers' warpers, in f64 with thresholds moved by slack.

    Of tokens equally likely at the edge of top_p it keeps those that its sort puts last, we keep all: so does this.
    """
    scores = torch.from_numpy(logits.astype(np.float64))[None]
    scores = theirs.TemperatureLogitsWarper(float(sampling.temperature))(None, scores)
    if sampling.top_k:
        scores = theirs.TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        kept = theirs.TopPLogitsWarper(sampling.top_p * (1 + slack))(None, scores)
        likelihood = scores.softmax(-1).float()
        scores = scores.masked_fill(likelihood < likelihood[kept > -INF].min(), -INF)
    if sampling.min_p:
        scores = theirs.MinPLogitsWarper(min(1, sampling.min_p * (1 - slack)))(None, scores)
    if sampling.typical_p < 1:
        scores = theirs.TypicalLogitsWarper(sampling.typical_p * (1 + slack))(None, scores)
    return scores.softmax(-1)[0].numpy()


def random_history(rng: np.random.Generator, vocabulary: int) -> History:
    prompt = rng.integers(0, vocabulary, rng.integers(1, 20)).tolist()
    new = rng.integers(0, vocabulary, rng.integers(0, 20)).tolist()
    return History(prompt, new, [(EOS,), (EOS, EOS - 1), ()][rng.integers(3)])


def hostile_logits(rng: np.random.Generator, vocabulary: int, kind: str) -> np.ndarray:
    logits = rng.normal(0, 3, vocabulary).astype(np.float32)
    if kind == "ties":
        logits = logits.round()
    if kind == "equal":
        logits[:] = -7.5
    if kind == "impossible":
        logits[rng.random(vocabulary) < 0.5] = -INF
        logits[rng.integers(vocabulary)] = 0.5
    if kind == "huge":
        logits *= np.float32(1e37)
    if kind == "tiny":
        logits *= np.float32(1e-40)
    return logits


KINDS = ("random", "ties", "equal", "impossible", "huge", "tiny")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", BANS_AND_PENALTIES, ids=str)
def test_processed_logits_are_theirs_to_the_last_bit(settings, kind):
    rng, sampling = np.random.default_rng(1), Sampling(**settings)
    compared = 0
    for vocabulary in (12, 12, 12, 40, 40, 300) * 5:
        logits, history = hostile_logits(rng, vocabulary, kind), random_history(rng, vocabulary)
        expected = their_scores(logits, sampling, history)
        if np.isfinite(expected.max()):
            np.testing.assert_array_equal(process(logits, sampling, history), expected)
            compared += 1
        else:
            with pytest.raises(Problem, match=r"no token is left|largest number of f32"):
                process(logits, sampling, history)
    assert compared


class Repeated:
    """A generator that always returns the same number, and then, lest that never ends, others."""

    def __init__(self, number: float) -> None:
        self._numbers = itertools.chain([number] * 20, np.linspace(0, 0.999, 1000))

    def random(self) -> float:
        return next(self._numbers)


DRAWS = 150


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", KEPT, ids=lambda s: " ".join(map(str, s.values())))
def test_the_tokens_that_can_come_are_theirs(settings, kind):
    if kind == "tiny" and settings["typical_p"] < 1:
        pytest.skip("their distances from the entropy are rounding alone")
    rng, sampling = np.random.default_rng(2), Sampling(**settings)
    compared = 0
    for vocabulary in (2, 12, 30):
        logits = hostile_logits(rng, vocabulary, kind)
        expected = their_kept(logits, sampling, 1e-6)
        if ((their_kept(logits, sampling, -1e-6) > 0) != (expected > 0)).any():
            continue  # a threshold that lies just on a token: either answer is right
        compared += 1
        ours = {choose(logits, sampling, Repeated((n + 0.5) / DRAWS)) for n in range(DRAWS)}
        assert ours <= set(np.flatnonzero(expected))
        assert ours >= set(np.flatnonzero(expected > 2 / DRAWS))
    assert compared


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", KEPT, ids=lambda s: " ".join(map(str, s.values())))
def test_the_probabilities_that_are_told_are_theirs(settings, kind):
    if kind == "tiny" and settings["typical_p"] < 1:
        pytest.skip("their distances from the entropy are rounding alone")
    rng, sampling = np.random.default_rng(5), Sampling(**settings)
    compared = 0
    for vocabulary in (2, 12, 30, 300):
        logits = hostile_logits(rng, vocabulary, kind)
        expected = their_kept(logits, sampling, 1e-6)
        if ((their_kept(logits, sampling, -1e-6) > 0) == (expected > 0)).all():
            np.testing.assert_allclose(probabilities(logits, sampling), expected, atol=1e-4)
            compared += 1
    assert compared


@pytest.mark.parametrize("settings", [s for s in KEPT if s["temperature"] == 1], ids=lambda s: str(list(s.values())))
@pytest.mark.parametrize("scale", [0, 1, 4], ids=["flat", "wide", "peaked"])
def test_at_the_size_of_gpt2_tokens_come_as_often_as_by_theirs(scale, settings):
    logits = np.random.default_rng(3).normal(0, scale, 50257).astype(np.float32)
    expected = their_kept(logits, Sampling(**settings), 1e-6)
    rng = np.random.default_rng(4)
    tokens = np.array([choose(logits, Sampling(**settings), rng) for _ in range(200)])
    wider = their_kept(logits, Sampling(**settings), 1e-4) > 0  # f32 places the edge a little differently
    assert wider[tokens].all()
    likely = np.argsort(-expected, kind="stable")
    place = np.cumsum(expected[likely])[np.argsort(likely)]  # uniform over 0 .. 1, but for steps
    step = expected.max()
    assert abs(place[tokens].mean() - 0.5) <= 0.12 + step / 2


@pytest.mark.parametrize("temperature", [1.2e-38, 1e-20, 1e20, 3e38])
def test_temperatures_at_the_ends_of_f32_keep_what_theirs_do(temperature):
    logits = np.float32([1, 3, 3, -2, -INF])
    expected = their_kept(logits, Sampling(temperature=temperature, top_p=1), 0)
    ours = [choose(logits, Sampling(temperature=temperature, top_p=1), Repeated((n + 0.5) / 100)) for n in range(100)]
    np.testing.assert_allclose(np.bincount(ours, minlength=5) / 100, expected, atol=0.011)
