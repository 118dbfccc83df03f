"""sampling: four-number distributions by hand, and a sorting reference for all others."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt2_text_prediction import Problem, Sampling
from gpt2_text_prediction.generation.logits_processors import History
from gpt2_text_prediction.generation.sampling import choose, probabilities

HAND = np.log(np.float32([0.1, 0.4, 0.3, 0.2]))
"""Four tokens; from the likeliest: 1 (0.4), 2 (0.3), 3 (0.2), 0 (0.1)."""
INF = math.inf


def reference(logits, temperature=1.0, top_k=0, top_p=1.0) -> np.ndarray:  # [V] -> [V]
    """The probabilities of Hugging Face's warpers in f64, by a full sort; of equal ones all are kept or none."""
    x = np.asarray(logits, np.float64)
    if temperature == 0 or top_p == 0:
        return np.eye(x.size)[x.argmax()]
    if 0 < top_k < x.size:
        x = np.where(x < np.sort(x)[-top_k], -INF, x)
    with np.errstate(over="ignore"):
        p = np.exp((x - x.max()) / temperature)
    p /= p.sum()
    ordered = np.sort(p)[::-1]
    before = np.concatenate([[0], np.cumsum(ordered)[:-1]])
    least = ordered[before < top_p].min() if top_p < 1 else 0
    p = np.where(p >= least, p, 0)
    return p / p.sum()


def draws(logits, count, seed=0, **settings_) -> np.ndarray:
    rng, sampling = np.random.default_rng(seed), Sampling(**{"top_p": 1.0, **settings_})
    logits = np.asarray(logits, np.float32)
    return np.array([choose(logits, sampling, rng) for _ in range(count)])


def survivors(logits=HAND, count=300, **settings_) -> set[int]:
    return set(draws(logits, count, **settings_).tolist())


def assert_frequencies(tokens: np.ndarray, expected: np.ndarray) -> None:
    """Pearson's chi-square below five standard deviations; tokens of small expectation are counted as one."""
    counts = np.bincount(tokens, minlength=expected.size)
    assert counts[expected == 0].sum() == 0
    order = np.argsort(-expected)
    bins = np.minimum((np.cumsum(expected[order]) - expected[order] / 2) * 40, 39).astype(int)
    want = np.bincount(bins, expected[order], 40) * tokens.size
    got = np.bincount(bins, counts[order], 40)
    used = want > 0
    statistic, freedom = ((got[used] - want[used]) ** 2 / want[used]).sum(), used.sum() - 1
    assert statistic <= freedom + 5 * math.sqrt(2 * max(freedom, 1))


@pytest.mark.parametrize(
    ("top_k", "kept"), [(0, {0, 1, 2, 3}), (1, {1}), (2, {1, 2}), (3, {1, 2, 3}), (4, {0, 1, 2, 3}), (5, {0, 1, 2, 3})]
)
def test_top_k_keeps_the_k_likeliest(top_k, kept):
    assert survivors(top_k=top_k) == kept


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0, {1}),
        (1e-9, {1}),
        (0.39, {1}),
        (0.41, {1, 2}),
        (0.69, {1, 2}),
        (0.71, {1, 2, 3}),
        (0.89, {1, 2, 3}),
        (0.91, {0, 1, 2, 3}),
        (1, {0, 1, 2, 3}),
    ],
)
def test_the_token_that_crosses_top_p_stays(top_p, kept):
    assert survivors(top_p=top_p) == kept


def test_top_p_reached_exactly_needs_no_further_token():
    assert survivors([0, 0, 0, -INF], top_p=0.5) == {0, 1, 2}  # equal ones stay together
    assert survivors(np.log([0.5, 0.25, 0.125, 0.125]), top_p=0.5) == {0}
    assert survivors(np.log([0.5, 0.25, 0.125, 0.125]), top_p=0.75) == {0, 1}


def test_top_p_is_of_what_top_k_left():
    assert survivors(top_k=2, top_p=0.56) == {1}  # 0.4 of 0.7 is 0.571
    assert survivors(top_k=2, top_p=0.58) == {1, 2}


def test_temperature_comes_before_top_p():
    assert survivors(top_p=0.75, temperature=0.1) == {1}
    assert survivors(top_p=0.75, temperature=1) == {1, 2, 3}
    assert survivors(top_p=0.76, temperature=1000) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("logits", "settings_", "kept"),
    [
        ([1, 1, 1, 1], {"top_p": 0.1}, {0, 1, 2, 3}),
        ([1, 1, 0, 0], {"top_k": 1}, {0, 1}),
        ([1, 1, 0, 0], {"top_k": 3}, {0, 1, 2, 3}),
        ([2, 1, 1, -9], {"top_k": 2}, {0, 1, 2}),
        ([2, 1, 1, -9], {"top_p": 0.6}, {0, 1, 2}),
    ],
)
def test_equal_tokens_stay_or_go_together(logits, settings_, kept):
    assert survivors(logits, **settings_) == kept


@pytest.mark.parametrize(
    "settings_", [{"temperature": 0}, {"top_p": 0}, {"temperature": -0.0}, {"temperature": 0, "top_k": 3}]
)
def test_greedy_takes_the_first_of_the_likeliest_and_draws_nothing(settings_):
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    assert choose(np.float32([0, 5, 5, 1]), Sampling(**settings_), rng) == 1
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-37])
def test_a_tiny_temperature_is_as_good_as_greedy(temperature):
    assert survivors(temperature=temperature) == {1}
    assert survivors([3e38, -3e38, 0, -INF], temperature=temperature) == {0}
    assert survivors([1, 1, 0.99, -5], temperature=temperature) == {0, 1}


@pytest.mark.parametrize("temperature", [1e30, 3e38])
def test_a_huge_temperature_makes_all_equal_but_the_impossible(temperature):
    assert survivors([-100, 0, 100, -INF], temperature=temperature) == {0, 1, 2}
    assert_frequencies(draws([-100, 0, 100, -INF], 900, temperature=temperature), np.array([1, 1, 1, 0]) / 3)


@pytest.mark.parametrize("temperature", [1e-46, 1e-60, 5e-324])
def test_a_temperature_too_small_for_f32_is_as_good_as_greedy(temperature):
    assert survivors(temperature=temperature, count=5) == {1}


@pytest.mark.parametrize("temperature", [3.5e38, 1e300])
def test_a_temperature_too_large_for_f32_makes_all_equal_but_the_impossible(temperature):
    assert survivors([-100, 0, 100, -INF], temperature=temperature) == {0, 1, 2}


SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 2},
    {"top_p": 0.7},
    {"top_p": 0.95, "top_k": 3, "temperature": 1.5},
    {"top_p": 0.3, "temperature": 5.0},
]


@pytest.mark.parametrize("settings_", SETTINGS, ids=str)
def test_four_tokens_come_as_often_as_they_should(settings_):
    assert_frequencies(draws(HAND, 3000, **settings_), reference(HAND, **settings_))


def spread(size: int, scale: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, size).astype(np.float32)


@pytest.mark.parametrize(
    "settings_", [{}, {"top_p": 0.9}, {"top_k": 50}, {"top_k": 1000, "top_p": 0.5, "temperature": 0.7}], ids=str
)
@pytest.mark.parametrize("scale", [0, 1, 4], ids=["flat", "wide", "peaked"])
def test_the_tokens_of_gpt2_come_as_often_as_they_should(scale, settings_):
    logits = spread(50257, scale)
    assert_frequencies(draws(logits, 700, **settings_), reference(logits, **settings_))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 1000])
def test_every_size_of_vocabulary_is_drawn_to_its_ends(size):
    for place in {0, size // 2, size - 1}:
        logits = np.full(size, -INF, np.float32)
        logits[place] = -3
        assert survivors(logits, count=5) == {place}
    logits = np.full(size, -30, np.float32)
    logits[[0, -1]] = 0
    assert survivors(logits, count=40) == {0, size - 1}
    assert_frequencies(draws(spread(size, 1), 1500), reference(spread(size, 1)))


class Scripted:
    """A generator that returns the numbers it was given."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = iter(numbers)

    def random(self) -> float:
        return next(self._numbers)


@pytest.mark.parametrize("size", [4, 256, 600])
def test_the_first_and_the_last_number_of_the_generator_are_drawn_within(size):
    almost_one = math.nextafter(1, 0)
    logits = np.full(size, -INF, np.float32)
    logits[1:-1] = spread(size - 2, 3)
    for numbers in ((0.0,), (almost_one, 0.5)):
        token = choose(logits, Sampling(top_p=1), Scripted(*numbers))
        assert 1 <= token <= size - 2
    assert choose(logits, Sampling(top_p=1), Scripted(0.0)) == 1


def test_impossible_tokens_at_the_front_are_passed_over():
    logits = np.full(1000, -INF, np.float32)
    logits[700:] = 0
    assert choose(logits, Sampling(top_p=1), Scripted(0.0)) == 700


def test_top_p_1_keeps_even_a_token_too_rare_to_change_the_sum():
    assert choose(np.float32([-18.4, 0]), Sampling(top_p=1), Scripted(0.0)) == 0
    assert choose(np.float32([-18.4, 0]), Sampling(top_p=0.9999), Scripted(0.0, 0.0)) == 1


def test_a_draw_is_the_inverse_of_the_cumulative_distribution():
    logits = spread(700, 1)
    ends = np.cumsum(reference(logits))
    for number in np.linspace(0.001, 0.999, 200):
        expected = int(np.searchsorted(ends, number))
        if np.abs(ends - number).min() > 1e-6:
            assert choose(logits, Sampling(top_p=1), Scripted(number)) == expected


@pytest.mark.parametrize("settings_", SETTINGS, ids=str)
def test_the_same_generator_state_gives_the_same_tokens(settings_):
    logits = spread(1000, 2)
    np.testing.assert_array_equal(draws(logits, 50, seed=9, **settings_), draws(logits, 50, seed=9, **settings_))
    assert len({tuple(draws(logits, 20, seed=seed)) for seed in range(5)}) == 5


def test_the_logits_are_left_as_they_were():
    logits = spread(1000, 2)
    logits.flags.writeable = False
    draws(logits, 20, top_k=5, top_p=0.5, temperature=0.3)


@pytest.mark.parametrize("settings_", [{}, {"temperature": 0}, {"top_k": 2}, {"top_p": 0}, {"top_k": 1}], ids=str)
@pytest.mark.parametrize(
    "logits",
    [[0, math.nan, 1, 2], [math.nan] * 4, [0, INF, 1, 2], [-INF] * 4, [INF, math.nan, 0, 0], [-INF, math.nan, -INF, 0]],
)
def test_logits_that_are_no_numbers_are_a_problem(logits, settings_):
    with pytest.raises(Problem, match="NaN or infinity"):
        choose(np.float32(logits), Sampling(**settings_), np.random.default_rng(0))


@pytest.mark.parametrize("settings_", [{}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.99}], ids=str)
def test_tokens_made_impossible_are_never_drawn(settings_):
    assert survivors([-INF, 0, -INF, -1], **settings_) <= {1, 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n in ("temperature", "top_p") for v in (-0.1, -INF, INF, math.nan)]
    + [("top_p", 1.0000001), ("top_p", 90), ("top_k", -1), ("top_k", -(10**30)), ("seed", -1), ("seed", 2**64)],
)
def test_a_setting_out_of_range_is_a_problem_with_name_and_value(name, value):
    with pytest.raises(Problem, match=f"^{name}: expected .*got {value!r}".replace("+", r"\+")):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    "settings_",
    [
        {"temperature": 0},
        {"temperature": 1e308},
        {"top_k": 10**30},
        {"top_p": 0},
        {"top_p": 1},
        {"seed": 0},
        {"seed": 2**64 - 1},
    ],
)
def test_the_ends_of_each_range_are_allowed(settings_):
    Sampling(**settings_)


def test_more_top_k_than_tokens_keeps_all():
    assert survivors(top_k=10**30) == {0, 1, 2, 3}


def test_a_sampling_cannot_be_changed():
    with pytest.raises(AttributeError):
        Sampling().temperature = 0  # type: ignore[misc]


LOGITS = st.lists(st.floats(-60, 60, width=32) | st.sampled_from([0.0, 1.0, -INF]), min_size=1, max_size=600).filter(
    lambda values: max(values) > -INF
)


@settings(max_examples=500, deadline=None)
@given(
    values=LOGITS,
    temperature=st.floats(0.01, 100) | st.sampled_from([0.0, 1.0, 1e-20, 1e20]),
    top_k=st.integers(0, 700) | st.sampled_from([0, 1, 2]),
    top_p=st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
@example(values=[0.0] * 600, temperature=1.0, top_k=0, top_p=1e-12, seed=0)
def test_no_token_outside_of_the_reference_nucleus_is_ever_drawn(values, temperature, top_k, top_p, seed):
    logits = np.float32(values)
    rng = np.random.default_rng(seed)
    # f32 places the edge of the nucleus a little differently: a slightly larger one holds every token for certain
    allowed = (
        reference(logits, temperature, top_k, min(1.0, top_p + 1e-4))
        if top_p
        else reference(logits, temperature, top_k, 0)
    )
    for _ in range(3):
        token = choose(logits, Sampling(temperature, top_k, top_p), rng)
        assert isinstance(token, int)
        assert logits[token] > -INF
        edge = logits[allowed > 0].min()
        assert logits[token] >= edge - 1e-4 * max(1.0, abs(edge)) * max(temperature, 1)


@pytest.mark.parametrize(
    ("min_p", "kept"),
    [(0, {0, 1, 2, 3}), (0.24, {0, 1, 2, 3}), (0.26, {1, 2, 3}), (0.51, {1, 2}), (0.76, {1}), (1, {1})],
)
def test_min_p_is_a_share_of_the_likeliest(min_p, kept):
    assert survivors(min_p=min_p) == kept
    assert survivors(min_p=min_p, typical_p=0.9999) == kept


def test_min_p_comes_behind_temperature_and_top_p():
    assert survivors(min_p=0.51, temperature=0.1) == {1}
    assert survivors(min_p=0.51, temperature=100) == {0, 1, 2, 3}
    assert survivors(top_p=0.71, min_p=0.51) == {1, 2}  # 0.71 is of all: it has kept token 3, too
    assert survivors(top_p=0.39, min_p=0.01) == {1}


def test_equal_tokens_all_have_the_likeliests_probability():
    assert survivors([1, 1, 1, 0.99], min_p=1) == {0, 1, 2}


@pytest.mark.parametrize(
    ("typical_p", "kept"),
    # the entropy is 1.280; -log p is 0.916 for token 1, 1.204 for 2, 1.609 for 3, 2.303 for 0
    [
        (0.001, {2}),
        (0.29, {2}),
        (0.31, {2, 3}),
        (0.49, {2, 3}),
        (0.51, {1, 2, 3}),
        (0.89, {1, 2, 3}),
        (0.91, {0, 1, 2, 3}),
    ],
)
def test_typical_p_keeps_what_is_nearest_to_the_entropy(typical_p, kept):
    assert survivors(typical_p=typical_p) == kept


def test_typical_p_is_of_what_the_others_left():
    # of tokens 1 and 2 alone, 4/7 and 3/7, the entropy is 0.683; -log p is 0.560 and 0.847
    for others in ({"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.6}):
        assert survivors(typical_p=0.5, **others) == {1}
        assert survivors(typical_p=0.6, **others) == {1, 2}
    assert survivors([0, -1, -INF, -INF], typical_p=0.5) == {0}
    assert survivors([5, -INF, -INF], typical_p=0.001) == {0}


@pytest.mark.parametrize("temperature", [1e-37, 1e-6, 1e30, 3.5e38])
def test_typical_p_and_min_p_bear_every_temperature(temperature):
    logits = [1e38, -1e38, 0, -INF]
    expected = {0, 1, 2} if temperature == 3.5e38 else {0}
    assert survivors(logits, temperature=temperature, min_p=1e-3) == expected
    assert survivors(logits, temperature=temperature, typical_p=0.9) <= {0, 1, 2}


@pytest.mark.parametrize(
    "settings_", [{"min_p": 0.3}, {"typical_p": 0.6}, {"top_p": 0.95, "min_p": 0.3, "typical_p": 0.8}]
)
def test_greedy_wins_over_what_is_kept(settings_):
    assert survivors(temperature=0, **settings_) == {1}
    assert survivors(**settings_ | {"top_p": 0}) == {1}


@pytest.mark.parametrize(
    ("settings_", "kept"),
    [
        ({"min_p": 0.3}, [1, 2, 3]),
        ({"typical_p": 0.45}, [2, 3]),
        ({"typical_p": 0.6, "top_p": 0.85}, [1, 2]),  # of three: 4/9, 3/9, 2/9; the entropy is 1.061
        ({"min_p": 0.2, "temperature": 1.0, "top_k": 3}, [1, 2, 3]),
    ],
    ids=str,
)
def test_four_tokens_come_as_often_as_they_should_behind_min_p_and_typical_p(settings_, kept):
    expected = np.zeros(4)
    expected[kept] = np.array([0.1, 0.4, 0.3, 0.2])[kept]
    assert_frequencies(draws(HAND, 3000, **settings_), expected / expected.sum())


def test_at_the_size_of_gpt2_min_p_and_typical_p_keep_what_a_sort_would():
    for scale in (0, 1, 4):
        logits = spread(50257, scale)
        p = reference(logits)
        likely = p >= 0.01 * p.max()
        assert_frequencies(draws(logits, 700, min_p=0.01), np.where(likely, p, 0) / p[likely].sum())
        for top_p in (1.0, 0.9):
            kept = reference(logits, top_p=top_p)
            surprise = -np.log(np.maximum(kept, 1e-300))
            distance = np.abs(surprise - (kept * surprise).sum()).round(5 if scale else 0)
            order = np.argsort(distance, kind="stable")
            before = np.searchsorted(distance[order], distance)  # how many are nearer
            mass = np.concatenate([[0], np.cumsum(kept[order])])[before]
            typical = np.where(mass < 0.5, kept, 0)
            assert_frequencies(
                draws(logits, 700, top_p=top_p, typical_p=0.5), np.where(typical > 0, typical, 0) / typical.sum()
            )


@pytest.mark.parametrize(
    ("name", "value"),
    [("min_p", v) for v in (-0.1, 1.01, math.nan, INF, "0.1")]
    + [("typical_p", v) for v in (0, -1, 1.01, math.nan, None)],
)
def test_min_p_and_typical_p_out_of_range_are_a_problem(name, value):
    with pytest.raises(Problem, match=f"^{name}: expected .*got {value!r}"):
        Sampling(**{name: value})


def test_ids_that_are_not_drawn_do_not_change_the_others():
    logits = np.random.default_rng(0).normal(size=100).astype(np.float32)
    padded, unused = np.concatenate([logits, np.full(28, 9, np.float32)]), np.arange(100, 128)
    history = History(unused_ids=unused)
    for sampling in (Sampling(), Sampling(top_k=5), Sampling(temperature=0), Sampling(typical_p=0.5)):
        expected = probabilities(logits, sampling)
        np.testing.assert_allclose(probabilities(padded, sampling, history)[:100], expected, rtol=1e-5, atol=1e-7)
        assert choose(padded, sampling, np.random.default_rng(1), history) == choose(
            logits, sampling, np.random.default_rng(1)
        )
