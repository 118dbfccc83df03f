"""The oracle itself: numbers done by hand, and transformers where it is installed."""

import json
import math

import numpy as np
import pytest

from support import numpy_gpt2
from support.toy import Toy


def test_the_gelus_of_one_are_the_known_numbers():
    assert numpy_gpt2.gelu_erf(np.float64(1)) == pytest.approx(0.8413447460685429, abs=1e-15)
    assert numpy_gpt2.gelu_tanh(np.float64(1)) == pytest.approx(0.8411919906082768, abs=1e-15)


def test_one_head_on_two_tokens_by_hand():
    q, k, v = np.array([[1.0], [1.0]]), np.array([[0.0], [math.log(3)]]), np.array([[8.0], [4.0]])
    assert numpy_gpt2.one_head(q, k, v, 1.0).ravel().tolist() == pytest.approx([8, (1 * 8 + 3 * 4) / 4])
    assert numpy_gpt2.one_head(q, k, v, 2.0).ravel().tolist() == pytest.approx([8, (1 * 8 + 9 * 4) / 10])


def test_norm_by_hand():
    p = {"n.weight": np.array([1.0, 2.0]), "n.bias": np.array([0.0, 5.0])}
    assert numpy_gpt2.norm(np.array([[1.0, 3.0]]), p, "n", 3.0).tolist() == [[-0.5, 6.0]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.extras("torch", "transformers")
@pytest.mark.parametrize(
    "toy",
    [
        Toy(),
        Toy(n_layer=3, n_head=3, n_embd=15, n_inner=7, tied=False, activation="gelu", epsilon=0.1, seed=1),
        Toy(n_head=1, n_embd=5, activation="gelu_pytorch_tanh", prefix="transformer.", seed=2),
    ],
    ids=["plain", "untied", "one head"],
)
def test_transformers_computes_the_same(toy, tmp_path):
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    folder = toy.write(tmp_path)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "gpt2"
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float64).eval()
    ids = np.random.default_rng(0).integers(0, toy.vocab_size, toy.n_positions)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)[None]).logits[0].numpy()
    np.testing.assert_allclose(toy.logits(ids), expected, rtol=0, atol=1e-10)
