"""optimizers: Muon's update is what its definition gives in float64, and AdamW has transformers' groups."""

from pathlib import Path

import numpy as np
import pytest

from gpt2_tools.finetune.optimizers import make_optimizer, orthogonal
from gpt2_tools.finetune.settings import Settings

pytestmark = pytest.mark.extras("torch")


@pytest.fixture
def torch():
    import torch  # noqa: PLC0415

    return torch


def settings(**more):
    return Settings(Path("book.txt"), "toy", **more)


def model_of(torch, shapes):
    """Return a module whose parameters have these names and shapes, and the gradient 1, 2, 3, ... scaled."""
    rng = np.random.default_rng(0)
    module = torch.nn.Module()
    for name, shape in shapes.items():
        parameter = torch.nn.Parameter(torch.from_numpy(rng.normal(size=shape).astype(np.float32)))
        *path, last = name.split(".")
        owner = module
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, torch.nn.Module())
            owner = getattr(owner, part)
        owner.register_parameter(last, parameter)
        parameter.grad = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    return module


@pytest.mark.parametrize("shape", [(6, 6), (4, 16), (16, 4)])
def test_singular_values_become_about_one(torch, shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(torch.from_numpy(matrix)).numpy()
    assert found.shape == shape
    values = np.linalg.svd(found, compute_uv=False)
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert np.sum(found * (u @ v)) / np.sqrt(np.sum(found**2) * min(shape)) > 0.95  # nearly the same direction


def newton_schulz(matrix):
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        x = 3.4445 * x - 4.775 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    return x


def test_muon_is_its_definition(torch):
    """Two steps, by hand in float64: momentum 0.95, Nesterov, decay, 0.2 sqrt(larger side)."""
    names = {"transformer.h.0.mlp.weight": (4, 8), "transformer.h.0.attn.weight": (4, 12)}
    model = model_of(torch, names)
    weights = {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}
    gradients = {name: p.grad.numpy().astype(np.float64) for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, settings(optimizer="muon", learning_rate=0.1, weight_decay=0.2))
    for _ in range(2):
        optimizer.step()
    for name, weight in weights.items():
        momentum = 0
        for _ in range(2):
            momentum = 0.95 * momentum + 0.05 * gradients[name]
            update = 0.05 * gradients[name] + 0.95 * momentum
            parts = np.split(update, 3, axis=1) if name.endswith("attn.weight") else [update]
            step = [newton_schulz(part) * 0.2 * max(part.shape) ** 0.5 for part in parts]
            weight = weight * (1 - 0.1 * 0.2) - 0.1 * np.concatenate(step, axis=1)  # noqa: PLW2901
        np.testing.assert_allclose(dict(model.named_parameters())[name].detach(), weight, atol=1e-4)


def test_all_but_the_matrices_of_the_blocks_have_adamw(torch):
    """The first step of Adam is the sign of the gradient times the rate."""
    model = model_of(torch, {"t.wte.weight": (5, 4), "t.h.0.ln.weight": (4,), "t.h.0.mlp.weight": (4, 4)})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_optimizer(model, settings(optimizer="muon", learning_rate=0.01)).step()
    for name, parameter in model.named_parameters():
        signs = before[name] - 0.01 * parameter.grad.sign()
        assert torch.allclose(parameter, signs, atol=1e-5) == (name != "t.h.0.mlp.weight")


def test_a_resumed_muon_goes_on_as_it_was(torch):
    names = {"t.wte.weight": (5, 4), "t.h.0.mlp.weight": (4, 4), "t.h.0.b": (4,)}
    first, second = model_of(torch, names), model_of(torch, names)
    one, other = (make_optimizer(model, settings(optimizer="muon")) for model in (first, second))
    one.step()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(one.state_dict())
    one.step()
    other.step()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_biases_and_frozen_weights_do_not_decay(torch):
    model = model_of(torch, {"h.0.w": (4, 4), "h.0.b": (4,), "wte": (5, 4)})
    model.wte.requires_grad = False
    groups = make_optimizer(model, settings(weight_decay=0.3)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.3), (1, 0.0)]
