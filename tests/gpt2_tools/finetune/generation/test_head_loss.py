"""head_loss: the loss and the gradients that PyTorch's own cross entropy has, of all the logits at once."""

import pytest

from gpt2_tools.finetune.generation.head_loss import POSITIONS, head_loss

pytestmark = pytest.mark.extras("torch", "transformers", "accelerate", "peft", "matplotlib")

COUNT = 2 * POSITIONS + 3
"""Several rounds, the last of which is not full."""


def tensors(trains_weight, trains_hidden=True):
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(COUNT, 24, generator=generator).requires_grad_(trains_hidden)
    weight = torch.randn(50, 24, generator=generator).requires_grad_(trains_weight)
    return hidden, weight, torch.randint(0, 50, (COUNT,), generator=generator)


def plain(hidden, weight, targets):
    import torch  # noqa: PLC0415

    return torch.nn.functional.cross_entropy((hidden @ weight.T).float(), targets, reduction="sum")


def gradients(loss_of, is_bf16, *which):
    """Return the loss, a third of which is differentiated, and the gradients."""
    import torch  # noqa: PLC0415

    hidden, weight, targets = tensors(*which)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        loss = loss_of(hidden, weight, targets)
    (loss / 3).backward()
    return loss.detach(), hidden.grad, weight.grad


@pytest.mark.parametrize("is_bf16", [False, True], ids=["f32", "bf16"])
@pytest.mark.parametrize("which", [(True,), (False,), (True, False)], ids=str)
def test_loss_and_gradients_are_those_of_pytorch(is_bf16, which):
    import torch  # noqa: PLC0415

    found, expected = gradients(head_loss, is_bf16, *which), gradients(plain, is_bf16, *which)
    assert found[0].dtype == torch.float32
    bounds = {"rtol": 2e-2, "atol": 5e-2} if is_bf16 else {"rtol": 1e-5, "atol": 1e-5}
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, **bounds)


def test_an_evaluation_computes_no_gradients():
    import torch  # noqa: PLC0415

    with torch.no_grad():
        found = head_loss(*tensors(True))
    assert not found.requires_grad
    torch.testing.assert_close(found, plain(*tensors(True)).detach())
