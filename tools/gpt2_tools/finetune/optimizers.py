"""The optimizers: AdamW, and Muon for the matrices of the blocks beside AdamW for the rest.

Muon: https://kellerjordan.github.io/posts/muon/. PyTorch's own computes in bf16, which a CPU without it emulates.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpt2_tools.finetune.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch.optim import AdamW as _AdamW
else:
    _AdamW = object  # added by muon(), since PyTorch is imported inside functions

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration; five rounds bring all singular values near 1."""


def make_optimizer(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    """Return the optimizer of a model's trainable parameters. Biases and layer norms have no weight decay."""
    return OPTIMIZERS[settings.optimizer](model, settings)


def adamw(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    """AdamW with transformers' defaults."""
    from torch.optim import AdamW  # noqa: PLC0415

    _, decayed, others = _groups(model)
    groups = [{"params": decayed, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], lr=settings.peak_learning_rate, fused=True)


def muon(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    """Muon, and AdamW at the same learning rate for embeddings, biases and layer norms."""
    from torch.optim import AdamW  # noqa: PLC0415

    matrices, decayed, others = _groups(model, split_matrices=True)
    groups = [
        {"params": matrices, "weight_decay": settings.decay, "is_muon": True},
        {"params": decayed, "weight_decay": 0.0, "is_muon": False},
        {"params": others, "weight_decay": 0.0, "is_muon": False},
    ]
    made = type("Muon", (Muon, AdamW), {})
    optimizer: torch.optim.Optimizer = made(
        [group for group in groups if group["params"]], lr=settings.peak_learning_rate, betas=(0.9, 0.95), fused=True
    )
    return optimizer


OPTIMIZERS: dict[str, Callable[["torch.nn.Module", Settings], "torch.optim.Optimizer"]] = {
    "adamw": adamw,
    "muon": muon,
}


def _groups(model: "torch.nn.Module", split_matrices: bool = False) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the matrices of the blocks if they are asked for, the other matrices, and the vectors."""
    found: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = 2 if parameter.ndim < 2 else 0 if split_matrices and ".h." in name else 1
            found[kind].append(parameter)
    return found


class Muon(_AdamW):
    """AdamW, but for the groups that are marked is_muon."""

    def step(self, closure: Any = None) -> Any:
        """Update the parameters."""
        import torch  # noqa: PLC0415

        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["is_muon"]]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        with torch.no_grad():
            for group in groups:
                for parameter in group["params"] if group["is_muon"] else ():
                    self._update(parameter, group["lr"], group["weight_decay"])
        return loss

    def _update(self, parameter: "torch.Tensor", rate: float, decay: float) -> None:
        if parameter.grad is None:
            return
        state = self.state[parameter]
        if not state:
            state["momentum"] = parameter.new_zeros(parameter.shape)
            state["step"] = parameter.new_zeros(())  # which AdamW looks for in every state that it loads
        momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        gradient = parameter.grad.lerp(momentum, MOMENTUM)  # Nesterov's
        rows, columns = parameter.shape
        parts = gradient.chunk(3, 1) if columns == 3 * rows else (gradient,)  # queries, keys and values apart
        parameter.mul_(1 - rate * decay)
        for part, target in zip(parts, parameter.chunk(len(parts), 1), strict=True):
            # As large as AdamW's updates: https://arxiv.org/abs/2502.16982
            target.add_(orthogonal(part), alpha=-rate * 0.2 * math.sqrt(max(part.shape)))


def orthogonal(matrix: "torch.Tensor") -> "torch.Tensor":  # [R, C] -> [R, C]
    """Return about the nearest matrix whose singular values are 1, by five rounds of Newton-Schulz."""
    a, b, c = NEWTON_SCHULZ
    x: torch.Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
