"""The stateful back end: the KV cache inside the model; it holds the sequences of the last step, and only those.

A sequence that it does not hold, or of which nothing is kept, is computed from its first token. One that it holds
continues from there, also as several forks or in another order, by beam_idx. Sequences of different lengths are
padded on the left; padding and dropped tokens stay in the cache, hidden by attention_mask.
Letters: B sequences, P columns of the cache, L the most new tokens of a sequence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine.sequence import CacheUsage, Logits, StepInput


class StateRow(NamedTuple):
    """Where a sequence's keys and values are: in this row of the state after this step of this back end."""

    owner: "Stateful"
    step: int
    row: int


class Part(NamedTuple):
    """One sequence's part in a step."""

    beam_idx: int  # the row of the cache that it continues; any, where it keeps no column
    shown: npt.NDArray[np.bool_]  # [P]: the columns it keeps
    tokens: list[int]  # what it runs: its new tokens, after all its others where the cache does not hold them


class Stateful:
    """An infer request, whose state is the cache."""

    name = "stateful"

    def __init__(self, compiled: ov.CompiledModel, n_positions: int) -> None:
        self._compiled = compiled
        self._most_columns = 2 * n_positions  # beyond, masked columns cost more than computing again
        self._steps = 0
        self.reset()

    def reset(self) -> None:
        """Drop every sequence; their next step computes them again."""
        # Not reset_state: after it OpenVINO 2026.4 reads wrong scales of a cache in u8, where the rows are more than
        # before (issue 18). A new request takes 0.3 ms.
        self._request = self._compiled.create_infer_request()
        self._steps += 1
        self._shown = np.zeros((0, 0), bool)  # [B, P]: the columns that are a sequence's own

    def step(self, inputs: Sequence[StepInput]) -> tuple[list[Logits], list[StateRow]]:
        """Run one step; see BackEnd.step."""
        columns = self._shown.shape[1] + max(len(sequence.tokens) for sequence in inputs)
        if not any(map(self._holds, inputs)) or columns > self._most_columns:
            self.reset()
        parts = [self._part(sequence) for sequence in inputs]
        self._steps += 1  # before the inference: whatever interrupts it, no earlier StateRow is valid any more
        logits = self._infer(inputs, parts)
        return logits, [StateRow(self, self._steps, i) for i in range(len(inputs))]

    def fits(self, lengths: Sequence[int]) -> bool:
        """See BackEnd.fits: the runtime takes what memory it needs."""
        return True

    def reset_prefix_cache(self) -> None:
        """See BackEnd.reset_prefix_cache: there is none."""

    def usage(self) -> CacheUsage:
        """See BackEnd.usage: it has no blocks."""
        return CacheUsage()

    def _holds(self, sequence: StepInput) -> bool:
        at = sequence.cache.location
        return sequence.past_length() > 0 and at is not None and at.owner is self and at.step == self._steps

    def _part(self, sequence: StepInput) -> Part:
        past, cache = sequence.past_length(), sequence.cache
        if not self._holds(sequence):
            return Part(0, np.zeros(self._shown.shape[1], bool), [*cache.tokens[:past], *sequence.tokens])
        shown = self._shown[cache.location.row]
        return Part(cache.location.row, shown & (np.cumsum(shown) <= past), list(sequence.tokens))

    def _infer(self, inputs: Sequence[StepInput], parts: list[Part]) -> list[Logits]:
        length = max(len(part.tokens) for part in parts)
        ids = np.zeros((len(parts), length), np.int64)
        positions = np.zeros_like(ids)
        own = np.zeros(ids.shape, bool)
        for i, part in enumerate(parts):
            pad, past = length - len(part.tokens), int(part.shown.sum())
            ids[i, pad:] = part.tokens
            positions[i, pad:] = np.arange(past, past + len(part.tokens))
            own[i, pad:] = True
        shown = np.concatenate([np.stack([part.shown for part in parts]), own], axis=1)
        outputs = self._request.infer(
            {
                "input_ids": ids,
                "attention_mask": shown.astype(np.int64),
                "position_ids": positions,
                "beam_idx": np.array([part.beam_idx for part in parts], np.int32),
                "logits_indices": np.array(_flat_indices(inputs, length) or [0], np.int64),  # never empty
            },
            share_inputs=True,
            share_outputs=True,
        )
        self._shown = shown
        logits = outputs["logits"].copy()  # the next step writes into the same memory
        ends = np.cumsum([len(sequence.logits_indices) for sequence in inputs])
        return np.split(logits[: ends[-1]], ends[:-1])


def _flat_indices(inputs: Sequence[StepInput], length: int) -> list[int]:
    """Return logits_indices as indices into [B * L]; each sequence's new tokens end at the end of its L."""
    return [
        (i + 1) * length - len(sequence.tokens) + index % len(sequence.tokens)
        for i, sequence in enumerate(inputs)
        for index in sequence.logits_indices
    ]
