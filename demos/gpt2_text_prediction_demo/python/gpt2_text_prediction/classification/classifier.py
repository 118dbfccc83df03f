"""Texts in, labels out: tokenizer, model and batches put together.

from gpt2_text_prediction import Classifier
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.argument_types import require_arguments, require_type
from gpt2_text_prediction.classification.batches import batch_ids, batches, windows
from gpt2_text_prediction.classification.infer_requests import InferFailed, InferRequests
from gpt2_text_prediction.classification.model import read_label_model
from gpt2_text_prediction.classification.results import Classification
from gpt2_text_prediction.engine.configuration import GROUP, INFERENCE, DeviceConfig, weights_of, with_own_cache_dir
from gpt2_text_prediction.engine.engine import compile_model, device_property
from gpt2_text_prediction.engine.model_file import model_path
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.text.tokenizer import TextStart, load_tokenizer

CLOSED = "the classifier is closed: load the model again"
AS_ONE_STREAM = {"PERFORMANCE_HINT": "THROUGHPUT"}
"""A stream for each core or so, which runs batches of its own: no thread waits for another within a batch."""
Probabilities: TypeAlias = npt.NDArray[np.float64]


class Classifier:
    """A loaded model of labels with its tokenizer. Any number of threads may use it; their calls take turns.

    labels: those of the model, in the order of their ids. properties: of the device, that probabilities depend on.

    >>> from gpt2_text_prediction import Classifier
    >>> with Classifier("spam-filter") as classify:
    ...     for result in classify(["Win a prize now", "See you at seven"]):
    ...         assert result.label in classify.labels
    """

    def __init__(  # noqa: PLR0913  # each is a choice of the user's, by name
        self,
        model: str | Path,
        *,
        precision: str | None = None,
        vocab: str | Path | None = None,
        merges: str | Path | None = None,
        device: str = "CPU",
        precision_hint: Literal["auto", "f32", "bf16", "f16", "device"] = "auto",
        num_threads: int | None = None,
        config: Mapping[str, Any] | None = None,
        max_seq_len: int | None = None,
    ) -> None:
        """Load a model and its tokenizer, which is looked for beside it unless vocab and merges are given.

        model: a name below ./public; a folder of omz_converter's; or an .xml.
        precision: of the weights, for a name or a folder: "FP16" by default, "FP32", "FP16-INT8", ...
        precision_hint: the arithmetic. "auto" chooses what is fast on this CPU, and exact enough; "device" is what
        OpenVINO chooses. num_threads: by default the device's choice.
        config: properties of the device, by OpenVINO's names, which add to these two and go before them.
        max_seq_len: how many tokens of a text are read, by default as many as the model has positions.
        Raises Problem for files or settings that cannot be used, and for a model that continues texts.
        """
        require_arguments(
            model=model,
            precision=precision,
            vocab=vocab,
            merges=merges,
            device=device,
            precision_hint=precision_hint,
            num_threads=num_threads,
            config=config,
            max_seq_len=max_seq_len,
        )
        core = ov.Core()
        found = read_label_model(core, model_path(model, precision))
        if max_seq_len is not None and not 1 <= max_seq_len <= found.n_positions:
            raise Problem(
                f"max_seq_len: expected 1 .. {found.n_positions}, the positions of {found.path}, got {max_seq_len}"
            )
        self.path, self.labels = found.path, found.labels
        self.max_seq_len = max_seq_len or found.n_positions
        self._pad, self._is_multi_label = found.pad_token_id, found.multi_label
        self.tokenizer = load_tokenizer(found.path, vocab, merges, found.vocab_size)
        weights = weights_of(found.model)
        asked = DeviceConfig(device, precision_hint, num_threads, {**AS_ONE_STREAM, **(config or {})})
        properties = with_own_cache_dir(device, asked.resolved(core, weights))
        compiled = compile_model(core, found.model, found.path, device, properties)
        names = [INFERENCE, GROUP] if weights.is_quantized else [INFERENCE]
        reported = {name: device_property(compiled, name) for name in names}
        self.properties = {name: value for name, value in reported.items() if value is not None}
        self._requests: InferRequests | None = InferRequests(compiled)
        self._lock = Lock()

    def __call__(
        self, texts: str | Iterable[str], *, on_progress: Callable[[int], object] | None = None
    ) -> list[Classification]:
        """Return the labels of each text, in their order.

        texts: one, or several. A text that does not fit into max_seq_len tokens is cut at its end, see
        Classification.cut. on_progress: called in this thread, after each batch, with the number of texts done so far.
        What it raises, like Ctrl-C, ends the call.
        Raises Problem for a text that has no token or is not valid Unicode, and for a closed classifier.
        """
        require_arguments(on_progress=on_progress)
        return list(self.stream([texts] if isinstance(texts, str) else texts, on_progress=on_progress))

    def stream(
        self, texts: Iterable[str], *, on_progress: Callable[[int], object] | None = None
    ) -> Iterator[Classification]:
        """Yield the labels of each text, as __call__ does, of any number in flat memory: some hundred at a time."""
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            if on_progress is not None:
                on_progress(done)

        for window in windows(_checked(texts), len):
            first = done
            for n, found in enumerate(self.window(window, report), first + 1):
                if isinstance(found, Problem):
                    raise Problem(f"text {n}: {found}")
                yield found

    def window(
        self, texts: Sequence[str], on_end: Callable[[int], object] = lambda _: None
    ) -> list[Classification | Problem]:
        """Return the labels of texts that are sorted by length together, or why a text has none.

        on_end: called with the number of texts of each batch that has ended.
        """
        starts = self._starts(texts)
        numbers = [i for i, start in enumerate(starts) if isinstance(start, TextStart)]
        tokens = [start.tokens for start in starts if isinstance(start, TextStart)]
        found: list[Classification | Problem | None] = [
            None if isinstance(start, TextStart) else start for start in starts
        ]
        for k, row in enumerate(self._probabilities(tokens, on_end)):
            start = starts[numbers[k]]
            assert isinstance(start, TextStart)
            best = int(row.argmax())
            found[numbers[k]] = Classification(
                self.labels[best], float(row[best]), row, self.labels, start.truncated_chars
            )
        return [each for each in found if each is not None]

    def _starts(self, texts: Sequence[str]) -> list[TextStart | Problem]:
        """Return the tokens of each text that fit, or why there are none."""
        try:
            starts: Sequence[TextStart | Problem] = self.tokenizer.encode_starts(texts, self.max_seq_len)
        except Problem:  # of one text among them
            starts = [self._start(text) for text in texts]
        empty = Problem("is empty: a label needs some text")
        return [empty if isinstance(start, TextStart) and not start.tokens else start for start in starts]

    def _start(self, text: str) -> TextStart | Problem:
        try:
            return self.tokenizer.encode_starts([text], self.max_seq_len)[0]
        except Problem as problem:
            return problem

    def _probabilities(self, tokens: Sequence[list[int]], on_end: Callable[[int], object]) -> list[Probabilities]:
        """Return the probabilities of each row of tokens, [N] each."""
        rows = batches([len(row) for row in tokens], padded=self._pad is not None)
        inputs = [batch_ids([tokens[i] for i in batch], self._pad, self.max_seq_len) for batch in rows]
        with self._lock:
            if self._requests is None:
                raise Problem(CLOSED)
            try:
                outputs = self._requests.run(inputs, lambda number: on_end(len(rows[number])))
            except InferFailed as error:
                raise Problem(f"{self.path}: cannot be run: {error}") from None
        found: dict[int, Probabilities] = {}
        for batch, logits in zip(rows, outputs, strict=True):
            found |= zip(batch, self._shares(logits.astype(np.float64)), strict=True)
        return [found[i] for i in range(len(tokens))]

    def _shares(self, logits: Probabilities) -> Probabilities:  # [B, N] -> [B, N]
        if not math.isfinite(logits.sum()):
            raise Problem(
                f"{self.path}: the model's logits hold NaN or infinity: its weights are damaged, or it overflows at "
                "this precision; try f32"
            )
        if self._is_multi_label:
            return 1 / (1 + np.exp(-logits))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Release the model; a call that runs ends first. Closing again does nothing."""
        with self._lock:
            self._requests = None

    def __enter__(self) -> "Classifier":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        require_type(str, text)
        yield text
