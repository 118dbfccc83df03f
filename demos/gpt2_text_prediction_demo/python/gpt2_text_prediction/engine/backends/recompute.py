"""The back end of a model without a cache: every step runs every row from its first token.

Rows are padded on the right, which the causal mask hides; a model of a fixed shape is given just that shape. One of
the ONNX Model Zoo, whose ids are [B, S, L], is given one row at a time: [1, 1, L], as the zoo's own data is.
Letters: B rows, L the longest row, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import openvino as ov

from gpt2_text_prediction.engine.sequence import Logits, Row
from gpt2_text_prediction.problem import Problem


class Recompute:
    """One infer request without a state."""

    name = "recompute"

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        batch, *sequences, length = compiled.input(0).partial_shape
        self._dtype = compiled.input(0).element_type.to_dtype()
        self._sequences = (1,) * len(sequences)
        self._rows_at_once = batch.get_length() if batch.is_static else 1 if sequences else None
        self._length = length.get_length() if length.is_static else None

    def step(self, rows: Sequence[Row]) -> tuple[list[Logits], list[None]]:
        """Run one step; see BackEnd.step."""
        at_once = self._rows_at_once or len(rows)
        starts = range(0, len(rows), at_once)
        logits = [row_logits for start in starts for row_logits in self._infer(rows[start : start + at_once])]
        return logits, [None] * len(rows)

    def fits(self, lengths: Sequence[int]) -> bool:
        """See BackEnd.fits: the runtime takes what memory it needs."""
        return True

    def forget(self) -> None:
        """See BackEnd.forget: nothing is kept at all."""

    def _infer(self, rows: Sequence[Row]) -> list[Logits]:
        whole = [[*row.cache.tokens[: row.kept()], *row.tokens] for row in rows]
        ids = np.zeros((self._rows_at_once or len(rows), self._length or max(map(len, whole))), self._dtype)
        for i, tokens in enumerate(whole):
            ids[i, : len(tokens)] = tokens
        given = ids.reshape(len(ids), *self._sequences, -1)
        logits = self._request.infer([given], share_inputs=True, share_outputs=True)[0]  # [B, L, V] or [B, 1, L, V]
        if logits.shape[:-1] != given.shape:
            raise Problem(f"expected logits for each of {list(given.shape)} tokens, got {list(logits.shape)}")
        logits = logits.reshape(*ids.shape, -1)
        picked = []
        for i, (row, tokens) in enumerate(zip(rows, whole, strict=True)):
            first = len(tokens) - len(row.tokens)
            places = [first + place % len(row.tokens) for place in row.wanted]
            picked.append(logits[i, places].astype(np.float32))
        return picked
