"""The back end of a model without a cache: every step runs every sequence from its first token.

Sequences are padded on the right, which the causal mask hides; a model of a fixed shape is given just that shape. One
of the ONNX Model Zoo, whose ids are [B, S, L], is given one sequence at a time: [1, 1, L], as the zoo's own data is.
Letters: B sequences, L the longest one, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import openvino as ov

from gpt2_text_prediction.engine.ir import TokenInput
from gpt2_text_prediction.engine.sequence import CacheUsage, Logits, StepInput
from gpt2_text_prediction.problem import Problem


class Recompute:
    """One infer request without a state."""

    name = "recompute"

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._input = TokenInput.of(compiled)

    def step(self, inputs: Sequence[StepInput]) -> tuple[list[Logits], list[None]]:
        """Run one step; see BackEnd.step."""
        at_once = self._input.rows or len(inputs)
        starts = range(0, len(inputs), at_once)
        logits = [logits for start in starts for logits in self._infer(inputs[start : start + at_once])]
        return logits, [None] * len(inputs)

    def fits(self, lengths: Sequence[int]) -> bool:
        """See BackEnd.fits: the runtime takes what memory it needs."""
        return True

    def reset_prefix_cache(self) -> None:
        """See BackEnd.reset_prefix_cache: there is none."""

    def usage(self) -> CacheUsage:
        """See BackEnd.usage: it has no cache."""
        return CacheUsage()

    def _infer(self, inputs: Sequence[StepInput]) -> list[Logits]:
        whole = [[*each.cache.tokens[: each.past_length()], *each.tokens] for each in inputs]
        ids = self._input.padded(whole)
        logits = self._request.infer([ids], share_inputs=True, share_outputs=True)[0]  # [B, L, V] or [B, 1, L, V]
        if logits.shape[:-1] != ids.shape:
            raise Problem(f"expected logits for each of {list(ids.shape)} tokens, got {list(logits.shape)}")
        logits = logits.reshape(len(ids), ids.shape[-1], -1)
        picked = []
        for i, (sequence, tokens) in enumerate(zip(inputs, whole, strict=True)):
            first = len(tokens) - len(sequence.tokens)
            indices = [first + index % len(sequence.tokens) for index in sequence.logits_indices]
            picked.append(logits[i, indices].astype(np.float32))  # a copy: the next step writes into the same memory
        return picked
