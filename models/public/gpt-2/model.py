"""GPT-2 as a PyTorch module, for export to ONNX; every size's descriptor names this file.

Not transformers' GPT2LMHeadModel, which the TorchScript exporter refuses (transformers 5.23: aten::diff). The weights
are read as by the direct recipe, with the same checks.
Letters: B batch, L length, C n_embd, H heads, D = C / H, V vocabulary.
"""

import math
from pathlib import Path

import torch
from torch.nn import functional

from gpt2_recipe import ACTIVATIONS, GPT2Config, Problem, Weights, match_weights, open_checkpoint

__all__ = ["Problem", "create_model"]

APPROXIMATIONS = {"TANH": "tanh", "ERF": "none"}
"""OpenVINO's name of a Gelu approximation -> PyTorch's."""
HIDDEN = -1e30
"""The score of a masked (later) token; not -inf, which Model Optimizer's FP16 turns into NaN."""


def create_model(model_dir: str) -> torch.nn.Module:
    """Return the module of a checkpoint folder; F32 weights share the memory of the mapped file."""
    source = open_checkpoint(Path(model_dir))
    if source.config.activation_function not in ACTIVATIONS:
        raise Problem(
            f'{model_dir}: "activation_function": expected one of {", ".join(ACTIVATIONS)}, got '
            f'"{source.config.activation_function}"; --route direct has it'
        )
    return GPT2(source.config, match_weights(source.path, source.tensors, source.config))


class GPT2(torch.nn.Module):
    """Token ids in, logits of the next token out."""

    def __init__(self, config: GPT2Config, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.approximation = APPROXIMATIONS[ACTIVATIONS[config.activation_function]]
        self.weights = torch.nn.ParameterDict()
        for name, weight in weights.items():
            self.weights[name.replace(".", "-")] = torch.nn.Parameter(torch.from_numpy(weight.as_f32()), False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:  # [B, L] -> [B, L, V]
        positions = torch.arange(ids.shape[1])
        masked = positions.unsqueeze(0) > positions.unsqueeze(1)  # [L, L]
        x = functional.embedding(ids, self._of("wte.weight")) + functional.embedding(positions, self._of("wpe.weight"))
        for i in range(self.config.n_layer):
            x = x + self._attention(self._norm(x, f"h.{i}.ln_1"), masked, f"h.{i}.attn")
            x = x + self._mlp(self._norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp")
        head = "lm_head.weight" if "lm_head-weight" in self.weights else "wte.weight"
        return self._norm(x, "ln_f") @ self._of(head).T

    def _attention(self, x: torch.Tensor, masked: torch.Tensor, name: str) -> torch.Tensor:  # [B, L, C] -> [B, L, C]
        q, k, v = (self._heads(part) for part in self._linear(x, f"{name}.c_attn").split(self.config.n_embd, dim=2))
        scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).masked_fill(masked, HIDDEN)
        mixed = (torch.softmax(scores, dim=3) @ v).transpose(1, 2)
        return self._linear(mixed.reshape(mixed.shape[0], mixed.shape[1], self.config.n_embd), f"{name}.c_proj")

    def _heads(self, x: torch.Tensor) -> torch.Tensor:  # [B, L, C] -> [B, H, L, D]
        heads = self.config.n_head
        return x.reshape(x.shape[0], x.shape[1], heads, self.config.n_embd // heads).transpose(1, 2)

    def _mlp(self, x: torch.Tensor, name: str) -> torch.Tensor:  # [B, L, C] -> [B, L, C]
        hidden = functional.gelu(self._linear(x, f"{name}.c_fc"), approximate=self.approximation)
        return self._linear(hidden, f"{name}.c_proj")

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:  # [B, L, in] -> [B, L, out]
        return x @ self._of(f"{name}.weight") + self._of(f"{name}.bias")

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:  # [B, L, C] -> [B, L, C]
        weight, bias = self._of(f"{name}.weight"), self._of(f"{name}.bias")
        return functional.layer_norm(x, (self.config.n_embd,), weight, bias, self.config.layer_norm_epsilon)

    def _of(self, name: str) -> torch.Tensor:
        return self.weights[name.replace(".", "-")]
