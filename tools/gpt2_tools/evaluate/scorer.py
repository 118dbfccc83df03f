"""How likely an IR takes given tokens to be: ids in, a log-probability a token out. It knows no text and no file of it.

Softmax and the choice of the label's score are part of the graph, so that no array of [L, V] reaches Python.
Letters: B rows, L tokens of a row, S sequences, V vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from gpt2_text_prediction.engine.engine import compile_model
from gpt2_text_prediction.engine.ir import IR, last_line, read_ir
from gpt2_text_prediction.generator import configuration
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import settings_of

MOST_LOGITS = 2**26
"""So many are held at once, 256 MB of them: rows that have more together run one after another."""


@dataclass(frozen=True)
class Scores:
    """What the tokens behind the first of each row are worth."""

    logprobs: npt.NDArray[np.float32]  # [B, L-1]: log p(token t+1 | tokens up to t)
    top: npt.NDArray[np.bool_]  # [B, L-1]: whether no token is likelier than token t+1


class Scorer:
    """A compiled graph of ids and labels. Rows of different lengths are padded on the right by who calls."""

    def __init__(self, ir: IR, compiled: ov.CompiledModel, n_positions: int) -> None:
        """Put the parts together; load_scorer makes them."""
        self.path = ir.path
        self.n_positions = n_positions
        self.vocab_size = ir.vocab_size
        self.eos_token_id = ir.eos_token_id
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        batch, *sequences, length = compiled.input(0).partial_shape
        self._sequences = (1,) * len(sequences)
        self._rows = batch.get_length() if batch.is_static else 1 if sequences else None
        self._length = length.get_length() if length.is_static else None

    def score(self, tokens: npt.NDArray[np.int64]) -> Scores:  # [B, L], 2 <= L <= n_positions + 1
        """Return what each token but the first of its row is worth behind those before it.

        Raises ValueError for tokens that no model could score, and Problem where the model's answer is no number
        or the device cannot run it.
        """
        tokens = np.asarray(tokens)
        self._check(tokens)
        at_once = self._rows or max(1, MOST_LOGITS // (tokens.shape[1] * self.vocab_size))
        parts = [self._infer(tokens[start : start + at_once]) for start in range(0, len(tokens), at_once)]
        return Scores(np.concatenate([part.logprobs for part in parts]), np.concatenate([part.top for part in parts]))

    def settings(self) -> dict[str, str | None]:
        """Return the precisions and the threads as the device reports them; None where it does not."""
        return settings_of(self._compiled)

    def _check(self, tokens: npt.NDArray[np.int64]) -> None:
        if tokens.ndim != 2 or tokens.shape[0] == 0 or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"expected token ids [B, L], got {tokens.dtype} {list(tokens.shape)}")
        if not 2 <= tokens.shape[1] <= self.n_positions + 1:  # the last one has no position: nothing is behind it
            raise ValueError(f"expected rows of 2 .. {self.n_positions + 1} tokens, got {tokens.shape[1]}")
        # The graph's Gather does not check: an id out of range would give an answer all the same.
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"expected token ids below {self.vocab_size}, got {tokens.min()} .. {tokens.max()}")

    def _infer(self, tokens: npt.NDArray[np.int64]) -> Scores:  # [B, L]
        count, length = len(tokens), tokens.shape[1] - 1
        ids = np.zeros((self._rows or count, self._length or length), np.int64)
        labels = np.zeros_like(ids)
        ids[:count, :length], labels[:count, :length] = tokens[:, :-1], tokens[:, 1:]
        given = [array.reshape(len(ids), *self._sequences, -1) for array in (ids, labels)]
        try:
            found = self._request.infer(given)
        except RuntimeError as error:
            raise Problem(f"{self.path}: cannot be run: {last_line(error)}") from None
        logprobs, top = (found[port].reshape(ids.shape)[:count, :length] for port in (0, 1))
        if not np.isfinite(logprobs).all():
            raise Problem(f"{self.path}: its logits are not all finite numbers; convert or quantize the model again")
        return Scores(logprobs, top)


def load_scorer(
    path: Path, device: str = "CPU", config: dict[str, Any] | None = None, max_seq_len: int | None = None
) -> Scorer:
    """Read an IR, put the softmax behind it and compile it.

    config: properties of the device; None is exact, see scoring_configuration.
    max_seq_len: the number of positions of a model that does not tell it, as some ONNX files do not.
    Raises Problem for files, a device or a configuration that cannot be used.
    """
    core = ov.Core()
    ir = read_ir(core, path)
    n_positions = ir.n_positions or max_seq_len
    if n_positions is None:
        raise Problem(f"{path}: does not tell its number of positions: give --context")
    config = scoring_configuration(device) if config is None else config
    return Scorer(ir, compile_model(core, with_scores(ir.model), path, device, config), n_positions)


def scoring_configuration(
    device: str, precision_hint: str | None = None, num_threads: int | None = None
) -> dict[str, Any]:
    """Return the properties for scoring: exact unless a precision is asked for, then those of the demo.

    Exact is f32 in arithmetic and in whatever cache there is.
    """
    if precision_hint not in (None, "f32"):
        return configuration(device, precision_hint, num_threads)
    exact = configuration(device, "f32", num_threads)
    return exact | {"KV_CACHE_PRECISION": "f32"} if device.startswith("CPU") else exact


def with_scores(model: ov.Model) -> ov.Model:
    """Return the model of ids and labels -> the label's log-probability f32 and whether none is likelier.

    model: ids [B, L] or [B, S, L] -> logits [..., V]; labels and both outputs are of the ids' shape.
    The largest logit is taken off before exp: GPT-2's are around -100, where exp of an f32 is nought.
    """
    ids = model.get_parameters()[0]
    labels = ops.parameter(ids.get_partial_shape(), np.int64, name="labels")
    last = _ints([-1])
    logits = ops.convert(model.get_results()[0].input_value(0), "f32")
    largest = ops.reduce_max(logits, last, keep_dims=True)
    label = ops.gather_elements(logits, ops.unsqueeze(labels, last), -1)
    total = ops.log(ops.reduce_sum(ops.exp(ops.subtract(logits, largest)), last, keep_dims=True))
    logprob = ops.squeeze(ops.subtract(ops.subtract(label, largest), total), last)
    top = ops.squeeze(ops.greater_equal(label, largest), last)
    return ov.Model([ops.result(logprob), ops.result(top)], [ids, labels], model.get_friendly_name())


def _ints(values: int | list[int]) -> Any:
    return ops.constant(np.array(values, np.int64))
