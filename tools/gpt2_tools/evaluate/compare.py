"""Models against a reference, on the same windows of the same tokens: the cost of other weights or precisions.

Only two models' logits of one window are in memory at a time, in buffers that OpenVINO writes and numpy reads.
Letters: L tokens of a window, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from gpt2_text_prediction.engine import IR, TokenInput, compile_model, last_line, read_ir, weights_of
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import settings_of
from gpt2_tools.evaluate.divergence import Differences, differences, joined
from gpt2_tools.evaluate.model_spec import ModelSpec
from gpt2_tools.evaluate.perplexity import exp
from gpt2_tools.evaluate.scorer import Tokens, scoring_config
from gpt2_tools.evaluate.windows import Window

Floats = npt.NDArray[np.float32]


class LogitsModel:
    """A compiled IR that writes its logits into a given buffer."""

    def __init__(self, spec: ModelSpec, ir: IR, compiled: ov.CompiledModel) -> None:
        """Use load_models."""
        self.spec = spec
        self.vocab_size = ir.vocab_size
        self.n_positions = ir.n_positions
        self.settings = settings_of(compiled)
        self._request = compiled.create_infer_request()
        self._input = TokenInput.of(compiled)

    def size(self, length: int) -> int:
        """Return the number of logits of a window of `length` tokens, with the padding of a static shape."""
        return math.prod(self._input.shape(1, length)) * self.vocab_size

    def write(self, tokens: Tokens, buffer: Floats) -> Floats:  # [L] -> [L, V]
        """Return the logits after each token, a view of the buffer. Raises Problem if the device cannot run it."""
        ids = self._input.padded(tokens[None])
        logits = buffer[: self.size(len(tokens))].reshape(*ids.shape, self.vocab_size)
        self._request.set_output_tensor(0, ov.Tensor(logits, shared_memory=True))
        try:
            self._request.infer([ids])
        except RuntimeError as error:
            raise Problem(f"{self.spec.path}: cannot be run: {last_line(error)}") from None
        return logits.reshape(-1, self.vocab_size)[: len(tokens)]


def load_models(specs: Sequence[ModelSpec], device: str, num_threads: int | None = None) -> list[LogitsModel]:
    """Read all IRs, then compile them. Raises Problem for files, a device or a hint that cannot be used."""
    core = ov.Core()
    irs = [read_ir(core, spec.path) for spec in specs]  # a missing file is reported before minutes of compiling
    return [_compile(core, spec, ir, device, num_threads) for spec, ir in zip(specs, irs, strict=True)]


def _compile(core: ov.Core, spec: ModelSpec, ir: IR, device: str, num_threads: int | None) -> LogitsModel:
    logits = ops.convert(ir.model.get_results()[0].input_value(0), "f32")
    model = ov.Model([ops.result(logits)], ir.model.get_parameters(), "logits")
    config = scoring_config(device, spec.hint, num_threads, spec.properties)
    properties = config.resolved(core, weights_of(ir.model))
    return LogitsModel(spec, ir, compile_model(core, model, spec.path, device, properties))


def check_vocabularies(reference: LogitsModel, candidates: Sequence[LogitsModel]) -> None:
    """Raise Problem for a candidate with another vocabulary size than the reference's."""
    for candidate in candidates:
        if candidate.vocab_size != reference.vocab_size:
            raise Problem(
                f"{candidate.spec.path}: has a vocabulary of {candidate.vocab_size} tokens, the reference "
                f"{reference.spec.path} one of {reference.vocab_size}; compare models with the same vocabulary"
            )


def window_differences(
    reference: LogitsModel, candidates: Sequence[LogitsModel], tokens: Tokens, windows: Sequence[Window]
) -> Iterator[list[Differences]]:
    """Yield for each window the differences of each candidate from the reference at the scored tokens.

    Raises Problem for logits that are not finite.
    """
    longest = max(window.end - window.start for window in windows)
    ours, theirs = (
        np.empty(max(model.size(longest) for model in models), np.float32) for models in ([reference], candidates)
    )
    for window in windows:
        ids = tokens[window.start : window.end]
        scored = slice(window.scored - window.start - 1, len(ids) - 1)
        labels = tokens[window.scored : window.end]
        expected = reference.write(ids, ours)[scored]
        found = []
        for candidate in candidates:
            found.append(differences(expected, candidate.write(ids, theirs)[scored], labels))
            _check(found[-1], reference, candidate)
        yield found


def _check(found: Differences, reference: LogitsModel, candidate: LogitsModel) -> None:
    for logprobs, model in ((found.reference, reference), (found.divergence, candidate)):
        if not np.isfinite(logprobs).all():
            raise Problem(
                f"{model.spec.path}: its logits are not all finite numbers; convert or quantize the model again"
            )


def joined_windows(
    parts: Iterator[list[Differences]], counted: Callable[[Iterator[Any]], Iterator[Any]]
) -> tuple[list[Differences], int, bool]:
    """Return each candidate's differences over all windows, the number of windows, and whether Ctrl-C ended it.

    counted: passes each window on and shows the progress.
    """
    windows: list[list[Differences]] = []
    interrupted = False
    try:
        for found in counted(parts):
            windows.append(found)
    except KeyboardInterrupt:
        if not windows:
            raise
        interrupted = True
    return [joined(column) for column in zip(*windows, strict=True)], len(windows), interrupted


def summary(found: Differences) -> dict[str, float]:
    """Return a candidate's figures: divergences in nats, same_top between 0 and 1."""
    return {
        "perplexity": exp(-float(found.candidate.mean())),
        "perplexity_ratio": exp(float((found.reference - found.candidate).mean())),
        "kl_mean": float(found.divergence.mean()),
        "kl_p99": float(np.percentile(found.divergence, 99)),
        "kl_max": float(found.divergence.max()),
        "same_top": float(found.same_top.mean()),
    }


def size_of(path: Path) -> int:
    """Return the bytes of a model on disk, for an .xml with its .bin."""
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)
