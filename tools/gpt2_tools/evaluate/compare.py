"""What other weights or another arithmetic cost: models beside a reference, on the same windows of the same tokens.

Two models' logits of one window lie in memory at a time, each written by OpenVINO to its place and read there.
Letters: L tokens of a window, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from gpt2_text_prediction.engine.engine import compile_model
from gpt2_text_prediction.engine.ir import IR, last_line, read_ir
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import settings_of
from gpt2_tools.evaluate.divergence import Differences, differences, joined
from gpt2_tools.evaluate.perplexity import exp
from gpt2_tools.evaluate.scorer import scoring_configuration
from gpt2_tools.evaluate.windows import Window

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]


class Contender(NamedTuple):
    """An IR and the arithmetic it is to run in, which FILE@HINT says."""

    path: Path
    hint: str = "f32"

    @property
    def name(self) -> str:
        """Return it as it may be typed."""
        return str(self.path) if self.hint == "f32" else f"{self.path}@{self.hint}"


class Logits:
    """A compiled IR; it writes its logits where it is told to."""

    def __init__(self, contender: Contender, ir: IR, compiled: ov.CompiledModel) -> None:
        """Put the parts together; load_logits makes them."""
        self.contender = contender
        self.vocab_size = ir.vocab_size
        self.n_positions = ir.n_positions
        self.settings = settings_of(compiled)
        self._request = compiled.create_infer_request()
        batch, *sequences, length = compiled.input(0).partial_shape
        self._rows = (batch.get_length() if batch.is_static else 1, *(1 for _ in sequences))
        self._length = length.get_length() if length.is_static else None

    def values(self, length: int) -> int:
        """Return how many logits a window of so many tokens has, the padding of a fixed shape among them."""
        return self._rows[0] * (self._length or length) * self.vocab_size

    def write(self, tokens: Tokens, place: Floats) -> Floats:  # [L] -> [L, V]
        """Return the logits behind each token, a view of the place; Problem where the device cannot run it."""
        ids = np.zeros((*self._rows, self._length or len(tokens)), np.int64)
        ids[..., : len(tokens)] = tokens
        logits = place[: self.values(len(tokens))].reshape(*ids.shape, self.vocab_size)
        self._request.set_output_tensor(0, ov.Tensor(logits, shared_memory=True))
        try:
            self._request.infer([ids])
        except RuntimeError as error:
            raise Problem(f"{self.contender.path}: cannot be run: {last_line(error)}") from None
        return logits.reshape(-1, self.vocab_size)[: len(tokens)]


def load_logits(contender: Contender, device: str, num_threads: int | None = None) -> Logits:
    """Read and compile an IR; raise Problem for files, a device or a hint that cannot be used."""
    core = ov.Core()
    ir = read_ir(core, contender.path)
    logits = ops.convert(ir.model.get_results()[0].input_value(0), "f32")
    model = ov.Model([ops.result(logits)], ir.model.get_parameters(), "logits")
    config = scoring_configuration(device, contender.hint, num_threads)
    return Logits(contender, ir, compile_model(core, model, contender.path, device, config))


def check_vocabularies(reference: Logits, candidates: Sequence[Logits]) -> None:
    """Raise Problem for a candidate that has not as many tokens as the reference."""
    for candidate in candidates:
        if candidate.vocab_size != reference.vocab_size:
            raise Problem(
                f"{candidate.contender.path}: has a vocabulary of {candidate.vocab_size} tokens, the reference "
                f"{reference.contender.path} one of {reference.vocab_size}; compare models of one vocabulary"
            )


def window_differences(
    reference: Logits, candidates: Sequence[Logits], tokens: Tokens, windows: Sequence[Window]
) -> Iterator[list[Differences]]:
    """Yield for each window how far each candidate is from the reference where tokens are scored.

    Raises Problem for logits that are no numbers.
    """
    longest = max(window.end - window.start for window in windows)
    places = [
        np.empty(max(model.values(longest) for model in models), np.float32) for models in ([reference], candidates)
    ]
    for window in windows:
        ids = tokens[window.start : window.end]
        scored = slice(window.scored - window.start - 1, len(ids) - 1)
        labels = tokens[window.scored : window.end]
        theirs = reference.write(ids, places[0])[scored]
        found = []
        for candidate in candidates:
            found.append(differences(theirs, candidate.write(ids, places[1])[scored], labels))
            _check(found[-1], reference, candidate)
        yield found


def _check(found: Differences, reference: Logits, candidate: Logits) -> None:
    for logprobs, model in ((found.reference, reference), (found.divergence, candidate)):
        if not np.isfinite(logprobs).all():
            path = model.contender.path
            raise Problem(f"{path}: its logits are not all finite numbers; convert or quantize the model again")


def compare(
    parts: Iterator[list[Differences]], counted: Callable[[Iterator[Any]], Iterator[Any]]
) -> tuple[list[Differences], int, bool]:
    """Return each candidate's differences over all windows, how many those were, and whether Ctrl-C ended it.

    counted: passes each window on and tells how many there were.
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


def figures(found: Differences) -> dict[str, float]:
    """Return what a candidate costs: divergences are in nats, shares between 0 and 1."""
    return {
        "perplexity": exp(-float(found.candidate.mean())),
        "perplexity_ratio": exp(float((found.reference - found.candidate).mean())),
        "kl_mean": float(found.divergence.mean()),
        "kl_p99": float(np.percentile(found.divergence, 99)),
        "kl_max": float(found.divergence.max()),
        "same_top": float(found.same_top.mean()),
    }


def size_of(path: Path) -> int:
    """Return the bytes of a model on disk, an .xml's weights with it."""
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)
