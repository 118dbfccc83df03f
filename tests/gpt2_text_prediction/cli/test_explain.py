"""explain, and the probabilities in it: by hand, by the oracle, and as often as they are drawn."""

import numpy as np
import pytest

from gpt2_text_prediction import Sampling, TextGenerator
from gpt2_text_prediction.cli.explain import explain
from gpt2_text_prediction.generation.logits_processors import History
from gpt2_text_prediction.generation.sampling import choose, probabilities
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=16)
HAND = np.log(np.float32([0.5, 0.25, 0.15, 0.1]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"top_p": 1}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"top_p": 0}, [1, 0, 0, 0]),
        ({"top_p": 1, "top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.7}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 1, "min_p": 0.29}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"top_p": 1, "typical_p": 0.2}, [0, 1, 0, 0]),
        ({"top_p": 1, "temperature": 0.5}, list(np.square([0.5, 0.25, 0.15, 0.1]) / 0.345)),
        ({"top_p": 1, "logit_bias": {0: -np.inf}}, [0, 0.5, 0.3, 0.2]),
    ],
)
def test_four_probabilities_by_hand(settings, expected):
    np.testing.assert_allclose(probabilities(HAND, Sampling(**settings)), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_a_token_is_drawn_as_often_as_its_probability_says(seed):
    rng = np.random.default_rng(seed)
    settings = {
        "temperature": float(rng.choice([0.5, 1, 2])),
        "top_k": int(rng.choice([0, 4, 7])),
        "top_p": float(rng.choice([0.5, 0.9, 1])),
        "min_p": float(rng.choice([0, 0.1])),
        "typical_p": float(rng.choice([0.4, 1])),
    }
    logits, sampling = rng.normal(0, 1.5, 10).astype(np.float32), Sampling(**settings)
    expected = probabilities(logits, sampling)
    drawn = np.bincount([choose(logits, sampling, rng) for _ in range(2000)], minlength=10) / 2000
    assert expected.sum() == pytest.approx(1)
    assert not drawn[expected == 0].any()
    assert np.abs(drawn - expected).max() < 0.06


def test_the_table_is_aligned_and_tells_the_oracles_probabilities(tmp_path):
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD) as generator:
        prompt = generator.tokenizer.encode("the rest")
        tokens = TOY.greedy(prompt, 3)
        heading, *lines = explain(generator, prompt, tokens, Sampling(top_p=1), 2)
        assert explain(generator, prompt, [], Sampling(), 2) == []
        assert explain(generator, prompt, [1] * 20, Sampling(), 2) == []
        names = [repr(generator.tokenizer.decode([token])) for token in tokens]
    assert heading.split() == ["step", "token", "model", "drawn", "most", "likely,", "as", "drawn"]
    for step, (line, token) in enumerate(zip(lines, tokens, strict=True)):
        logits = TOY.logits([*prompt, *tokens[:step]])[-1]
        share = np.exp(logits - logits.max())
        expected = f"{share[token] / share.sum():.1%}"
        assert line.split()[0] == str(step + 1)
        assert names[step] in line
        assert line.count(expected) >= 3  # the model's, that after the settings, and as the likeliest
        assert line.index(names[step]) == heading.index("token")


def test_penalties_show_in_what_was_drawn():
    history = History([0], [1])
    found = probabilities(HAND, Sampling(top_p=1, presence_penalty=2.0), history)
    assert found[1] < 0.05
    assert found[0] > 0.6
