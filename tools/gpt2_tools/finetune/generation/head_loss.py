"""The loss of a language model without all its logits at once: some positions are done with before the next.

The logits are GPT-2's largest activation: 51 MB of a block of 256, which transformers' own loss holds four times. Here
the gradient is computed along with the loss, in the memory that the logits had.
"""

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

POSITIONS = 256
"""Positions whose logits are held at once: each round reads all of the weight, and adds to all of its gradient."""


def use_head_loss(model: Any) -> None:
    """Give a GPT2LMHeadModel this loss where it gets labels; what generates text gets its logits as before."""
    from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions  # noqa: PLC0415

    plain = model.forward

    @functools.wraps(plain)  # its signature is looked at
    def forward(
        input_ids: Any = None, *arguments: Any, labels: Any = None, num_items_in_batch: Any = None, **named: Any
    ) -> Any:
        if labels is None:
            return plain(input_ids, *arguments, **named)
        hidden = model.transformer(input_ids, *arguments, **named)[0][:, :-1]
        targets = labels[:, 1:].reshape(-1)
        total = head_loss(hidden.reshape(len(targets), -1), model.lm_head.weight, targets)
        # Trainer counts the labels of all batches of a step, also a block's first, which nothing predicts.
        batches = 1 if num_items_in_batch is None else num_items_in_batch / labels.numel()
        return CausalLMOutputWithCrossAttentions(loss=total / (len(targets) * batches))

    model.forward = forward


def head_loss(hidden: "torch.Tensor", weight: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Return the sum of the cross entropies, in f32.  # [N, D], [V, D], [N] -> []

    Under autocast the products are in its type, and the gradient of the weight is added up in f32.
    """
    import torch  # noqa: PLC0415

    found: torch.Tensor = _function().apply(hidden, weight, targets, torch.is_grad_enabled())
    return found


@functools.cache
def _function() -> Any:
    import torch  # noqa: PLC0415

    class HeadLoss(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, is_trained: bool
        ) -> torch.Tensor:
            wanted = [is_trained and needed for needed in ctx.needs_input_grad[:2]]
            kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
            with torch.autocast("cpu", enabled=False):
                loss, *gradients = _loss_and_gradients(hidden.to(kind), weight.to(kind), targets, wanted)
            ctx.save_for_backward(*gradients)
            return loss

        @staticmethod
        def backward(ctx: Any, scale: torch.Tensor) -> tuple[Any, ...]:
            # The scale is 1 / the number of tokens, and of one element: no second matrix for the weight's gradient.
            return *(None if found is None else found.mul_(scale) for found in ctx.saved_tensors), None, None

    return HeadLoss


def _loss_and_gradients(
    hidden: "torch.Tensor", weight: "torch.Tensor", targets: "torch.Tensor", wanted: list[bool]
) -> tuple["torch.Tensor", "torch.Tensor | None", "torch.Tensor | None"]:
    import torch  # noqa: PLC0415

    loss = torch.zeros(())
    of_hidden = torch.empty(hidden.shape) if wanted[0] else None
    of_weight = torch.zeros(weight.shape) if wanted[1] else None
    for start in range(0, len(hidden), POSITIONS):
        rows = slice(start, start + POSITIONS)
        target = targets[rows, None]
        logits = torch.log_softmax((hidden[rows] @ weight.T).float(), 1)
        loss -= logits.gather(1, target).sum()
        if not any(wanted):
            continue
        logits.exp_().scatter_add_(1, target, logits.new_full((1, 1), -1.0).expand(target.shape))
        gradient = logits.to(weight.dtype)
        if of_hidden is not None:
            of_hidden[rows] = gradient @ weight
        if of_weight is not None and of_weight.dtype == gradient.dtype:
            of_weight.addmm_(gradient.T, hidden[rows])
        elif of_weight is not None:
            of_weight += gradient.T @ hidden[rows]
    return loss, of_hidden, of_weight
