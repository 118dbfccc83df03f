"""Log-probabilities of given tokens by an IR: token ids in, one log-probability per token out.

Log-softmax and the selection of each label are part of the compiled graph, so that no array [L, V] reaches Python.
Letters: B rows, L tokens of a row, S sequences, N scored tokens, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from gpt2_text_prediction.engine import (
    IR,
    DeviceConfig,
    TokenInput,
    compile_model,
    last_line,
    read_ir,
    weights_of,
)
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import settings_of

MOST_LOGITS = 2**26
"""Logits per infer call, 256 MB; rows that have more together are split into several calls."""

Tokens: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Scores of the tokens after the first one of each row: [B, L-1], or [N] of a single row."""

    logprobs: npt.NDArray[np.float32]  # log p(token t+1 | tokens up to t)
    top: npt.NDArray[np.bool_]  # whether no token is more likely than token t+1


Score = Callable[[Tokens], Scores]
"""Token ids [B, L] -> scores [B, L-1]."""


class Likelihood(NamedTuple):
    """Of a continuation: the log-probability of all its tokens, and whether greedy decoding generates it."""

    logprob: float
    is_greedy: bool


class Scorer:
    """A compiled graph of token ids and labels. score_last pads rows of different lengths."""

    def __init__(self, ir: IR, compiled: ov.CompiledModel, n_positions: int) -> None:
        """Use load_scorer or compile_scorer."""
        self.path = ir.path
        self.n_positions = n_positions
        self.vocab_size = ir.vocab_size
        self.eos_token_ids = ir.eos_token_ids
        self.bos_token_id = ir.bos_token_id
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._input = TokenInput.of(compiled)

    def score(self, tokens: Tokens) -> Scores:  # [B, L], 2 <= L <= n_positions + 1
        """Return the scores of each token but the first of its row, given the tokens before it.

        Raises ValueError for tokens that no model can score, and Problem if the scores are not finite or the device
        cannot run the model.
        """
        tokens = np.asarray(tokens)
        self._check(tokens)
        at_once = self._input.rows or max(1, MOST_LOGITS // (tokens.shape[1] * self.vocab_size))
        parts = [self._infer(tokens[start : start + at_once]) for start in range(0, len(tokens), at_once)]
        return Scores(np.concatenate([part.logprobs for part in parts]), np.concatenate([part.top for part in parts]))

    def settings(self) -> dict[str, str | None]:
        """Return the threads and the precisions as the device reports them; None if it does not."""
        return settings_of(self._compiled)

    def _check(self, tokens: Tokens) -> None:
        if tokens.ndim != 2 or tokens.shape[0] == 0 or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"expected token ids [B, L], got {tokens.dtype} {list(tokens.shape)}")
        if not 2 <= tokens.shape[1] <= self.n_positions + 1:  # the last token is only a label: it needs no position
            raise ValueError(f"expected rows of 2 .. {self.n_positions + 1} tokens, got {tokens.shape[1]}")
        # The graph's Gather does not check its indices: an id out of range would be scored as some other token.
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"expected token ids below {self.vocab_size}, got {tokens.min()} .. {tokens.max()}")

    def _infer(self, tokens: Tokens) -> Scores:  # [B, L]
        ids, labels = (self._input.padded(part) for part in (tokens[:, :-1], tokens[:, 1:]))
        try:
            outputs = self._request.infer([ids, labels])
        except RuntimeError as error:
            raise Problem(f"{self.path}: cannot be run: {last_line(error)}") from None
        rows, length = len(tokens), tokens.shape[1] - 1
        logprobs, top = (outputs[i].reshape(len(ids), -1)[:rows, :length] for i in (0, 1))
        if not np.isfinite(logprobs).all():
            raise Problem(f"{self.path}: its logits are not all finite numbers; convert or quantize the model again")
        return Scores(logprobs, top)


def score_last(score: Score, rows: Sequence[Sequence[int] | Tokens], counts: Sequence[int]) -> list[Scores]:
    """Score rows of different lengths in one call; return the scores of the last tokens of each, as many as its count.

    Rows are padded on the right, which changes no score of a causal model. Raises ValueError for a count that is not
    from 1 to the number of the row's scores, which is one less than its tokens.
    """
    for row, count in zip(rows, counts, strict=True):
        if not 1 <= count < len(row):
            raise ValueError(f"expected a count of 1 .. {len(row) - 1} tokens to score, got {count}")
    tokens = np.zeros((len(rows), max(map(len, rows))), np.int64)  # [B, L]
    for padded, row in zip(tokens, rows, strict=True):
        padded[: len(row)] = row
    scores = score(tokens)
    found = []
    for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
        last = slice(len(row) - 1 - count, len(row) - 1)  # a row has one score fewer than tokens
        found.append(Scores(scores.logprobs[i, last], scores.top[i, last]))
    return found


def likelihoods(score: Score, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> list[Likelihood]:
    """Return the likelihood of each row's last tokens together, as many as its count, given those before."""
    return [
        Likelihood(float(scores.logprobs.sum(dtype=np.float64)), bool(scores.top.all()))
        for scores in score_last(score, rows, counts)
    ]


def load_scorer(path: Path, config: DeviceConfig | None = None, max_seq_len: int | None = None) -> Scorer:
    """Read an IR and compile its scorer, see compile_scorer. Raises Problem."""
    core = ov.Core()
    return compile_scorer(core, read_ir(core, path), config, max_seq_len)


def compile_scorer(core: ov.Core, ir: IR, config: DeviceConfig | None = None, max_seq_len: int | None = None) -> Scorer:
    """Append log-softmax to the model of an IR and compile it.

    config: the device; None is exact on a CPU, see scoring_config.
    max_seq_len: the number of positions of a model that does not state it, as some ONNX files do not.
    Raises Problem for a device or a configuration that cannot be used.
    """
    n_positions = ir.n_positions or max_seq_len
    if n_positions is None:
        raise Problem(f"{ir.path}: does not state its number of positions: give --context")
    config = scoring_config("CPU") if config is None else config
    properties = config.resolved(core, weights_of(ir.model))
    compiled = compile_model(core, with_scores(ir.model), ir.path, config.device, properties)
    return Scorer(ir, compiled, n_positions)


def scoring_config(
    device: str,
    precision_hint: str | None = None,
    num_threads: int | None = None,
    properties: Mapping[str, str] = MappingProxyType({}),
) -> DeviceConfig:
    """Return a device for scoring: exact by default, as texts are generated for another precision.

    Exact is f32 for inference and for the KV cache. properties: OpenVINO's, which count before these.
    """
    if precision_hint not in (None, "f32"):
        return DeviceConfig(device, precision_hint, num_threads, properties)
    return DeviceConfig(device, "f32", num_threads, properties, cache_precision="f32")


def with_scores(model: ov.Model) -> ov.Model:
    """Return a model of (ids, labels) -> (log-probability of each label, f32; whether no token is more likely).

    model: ids [B, L] or [B, S, L] -> logits [..., V]; labels and both outputs have the shape of ids.
    """
    ids = model.get_parameters()[0]
    labels = ops.parameter(ids.get_partial_shape(), np.int64, name="labels")
    last = _ints([-1])
    logits = ops.convert(model.get_results()[0].input_value(0), "f32")
    largest = ops.reduce_max(logits, last, keep_dims=True)
    # The largest logit is subtracted before exp: GPT-2's logits are around -100, where exp in f32 is 0.
    label = ops.gather_elements(logits, ops.unsqueeze(labels, last), -1)
    total = ops.log(ops.reduce_sum(ops.exp(ops.subtract(logits, largest)), last, keep_dims=True))
    logprob = ops.squeeze(ops.subtract(ops.subtract(label, largest), total), last)
    top = ops.squeeze(ops.greater_equal(label, largest), last)
    return ov.Model([ops.result(logprob), ops.result(top)], [ids, labels], model.get_friendly_name())


def _ints(values: int | list[int]) -> Any:
    return ops.constant(np.array(values, np.int64))
