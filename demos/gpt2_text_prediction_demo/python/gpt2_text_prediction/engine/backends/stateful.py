"""The back end of a model with a key/value cache inside; it holds the rows of the last step, and only those.

A row that it does not hold, or of which nothing is kept, is computed from its first token; a row that it holds
continues there, also as several forks or in another order, by beam_idx. Rows of different lengths are padded on
the left, and what is padding or was dropped stays in the cache, hidden by attention_mask.
Letters: B rows, P columns of the cache, L the most new tokens of a row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine.sequence import Logits, Row


class Lease(NamedTuple):
    """Where a cache lies: its row after the step of that number of that back end."""

    owner: "Stateful"
    step: int
    row: int


class Part(NamedTuple):
    """One row's part in a step."""

    held_as: int  # the row of the cache that it continues; any, where it keeps no column
    shown: npt.NDArray[np.bool_]  # [P]: the columns it keeps
    tokens: list[int]  # what it runs: its new tokens, behind all its others where the cache does not hold them


class Stateful:
    """One infer request, whose state is the cache."""

    name = "stateful"

    def __init__(self, compiled: ov.CompiledModel, n_positions: int) -> None:
        self._request = compiled.create_infer_request()
        self._most_columns = 2 * n_positions  # beyond, hidden columns cost more than computing again
        self._steps = 0
        self.reset()

    def reset(self) -> None:
        """Forget every row; their next step computes them again."""
        self._request.reset_state()
        self._steps += 1
        self._shown = np.zeros((0, 0), bool)  # [B, P]: the columns that are a row's own

    def step(self, rows: Sequence[Row]) -> tuple[list[Logits], list[Lease]]:
        """Run one step; see BackEnd.step."""
        columns = self._shown.shape[1] + max(len(row.tokens) for row in rows)
        if not any(map(self._holds, rows)) or columns > self._most_columns:
            self.reset()
        parts = [self._part(row) for row in rows]
        self._steps += 1  # from here on no earlier lease holds, whatever interrupts us
        logits = self._infer(rows, parts)
        return logits, [Lease(self, self._steps, i) for i in range(len(rows))]

    def fits(self, lengths: Sequence[int]) -> bool:
        """See BackEnd.fits: the runtime takes what memory it needs."""
        return True

    def forget(self) -> None:
        """See BackEnd.forget: nothing is kept of them."""

    def _holds(self, row: Row) -> bool:
        lease = row.cache.lease
        return row.kept() > 0 and lease is not None and lease.owner is self and lease.step == self._steps

    def _part(self, row: Row) -> Part:
        if not self._holds(row):
            return Part(0, np.zeros(self._shown.shape[1], bool), [*row.cache.tokens[: row.kept()], *row.tokens])
        shown = self._shown[row.cache.lease.row]
        return Part(row.cache.lease.row, shown & (np.cumsum(shown) <= row.kept()), list(row.tokens))

    def _infer(self, rows: Sequence[Row], parts: list[Part]) -> list[Logits]:
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
                "beam_idx": np.array([part.held_as for part in parts], np.int32),
                "wanted": np.array(_wanted_places(rows, length) or [0], np.int64),
            },
            share_inputs=True,
            share_outputs=True,
        )
        self._shown = shown
        logits = outputs["logits"].copy()  # the runtime writes the next step's into the same memory
        ends = np.cumsum([len(row.wanted) for row in rows])
        return np.split(logits[: ends[-1]], ends[:-1])


def _wanted_places(rows: Sequence[Row], length: int) -> list[int]:
    """Return the places in [B * L] of the wanted tokens; each row's new tokens end at the end of its L."""
    return [
        (i + 1) * length - len(row.tokens) + place % len(row.tokens)
        for i, row in enumerate(rows)
        for place in row.wanted
    ]
