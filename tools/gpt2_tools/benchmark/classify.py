"""gpt2_classify beside transformers' text-classification pipeline, on the same texts, in turns: texts/s, and labels.

The pipeline runs in a process of its own, which answers {"texts": [...], "batch_size": N} with {"seconds", "labels"}.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gpt2_text_prediction import Classifier
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.benchmark.peers.runners.runner import own_stdout
from gpt2_tools.common.json_process import JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.transformers_process import require_transformers
from omz_model_tools.common import read_file, utf8_text

FLAG = "--classify"
BATCH_SIZES = (1, 8)
"""Of the pipeline: its default, and texts as they come, padded to the longest."""
OURS, PIPELINE = "gpt2_classify", "transformers"

Run = Callable[[], tuple[float, list[str]]]
"""-> seconds, and the label of each text."""


def read_texts(path: Path) -> list[str]:
    """Return the texts of a file, one a line, of a .jsonl the "text" of each object. Raises Problem."""
    lines = [line for line in utf8_text(read_file(path), path).splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        try:
            lines = [str(json.loads(line)["text"]) for line in lines]
        except (ValueError, KeyError, TypeError):
            raise Problem(f"{FLAG}: {path}: expected an object with a 'text' in each line") from None
    texts = [text for text in lines if text.strip()]
    if not texts:
        raise Problem(f"{FLAG}: {path}: expected texts, got none")
    return texts


def classify_figures(
    models: Mapping[str, Path],
    checkpoint: Path,
    texts: Sequence[str],
    options: Mapping[str, Any],
    repeats: Repeats,
    say: Callable[[str], None],
) -> tuple[dict[str, Figure], dict[str, Mapping[str, str]]]:
    """Return the figures, and the arithmetic of each of our rows. models: IRs by the name of their weights.

    options: of Classifier. Each IR runs with them; the first also in f32, whose labels should be the pipeline's.
    """
    with ExitStack() as stack:
        say("loading ...")
        ours = {f"{OURS}, {name}": Classifier(path, **options) for name, path in models.items()}
        first, path = next(iter(models.items()))
        if ours[f"{OURS}, {first}"].properties.get("INFERENCE_PRECISION_HINT") != "f32":
            ours[f"{OURS}, {first}, f32"] = Classifier(path, **{**options, "precision_hint": "f32"})
        for classifier in ours.values():
            stack.enter_context(classifier)
        positions = next(iter(ours.values())).max_seq_len
        ask = stack.enter_context(_Pipeline(checkpoint, options.get("num_threads"), positions))
        sizes = BATCH_SIZES if ask.can_pad else BATCH_SIZES[:1]
        runs: dict[str, Run] = {name: _ours(classifier, texts) for name, classifier in ours.items()}
        runs |= {f"{PIPELINE}, batch_size {size}": ask.run(texts, size) for size in sizes}
        say(f"{len(texts)} texts, in turns: {'; '.join(runs)} ...")
        turns = repeats.of(lambda: {name: run() for name, run in runs.items()})
        return _figures(turns, list(ours), len(texts)), {name: each.properties for name, each in ours.items()}


def _ours(classifier: Classifier, texts: Sequence[str]) -> Run:
    def run() -> tuple[float, list[str]]:
        start = time.perf_counter()
        results = classifier(texts)
        return time.perf_counter() - start, [result.label for result in results]

    return run


def _figures(turns: Sequence[Mapping[str, tuple[float, list[str]]]], ours: list[str], count: int) -> dict[str, Figure]:
    theirs = [name for name in turns[0] if name not in ours]
    figures = {name: Figure("texts/s", tuple(count / turn[name][0] for turn in turns)) for name in turns[0]}
    for name in ours:
        for other in theirs:
            ratios = tuple(turn[other][0] / turn[name][0] for turn in turns)
            figures[f"{name} / {other}"] = Figure("x", ratios)
        same = sum(a == b for a, b in zip(turns[0][name][1], turns[0][theirs[0]][1], strict=True))
        figures[f"{name}, the pipeline's labels"] = Figure("%", (100 * same / count,))
    return figures


class _Pipeline:
    """The process; can_pad: whether the model has a pad token, without which texts run one at a time."""

    def __init__(self, checkpoint: Path, threads: int | None, positions: int) -> None:
        require_transformers()
        command = [sys.executable, "-m", __name__, str(checkpoint), str(threads or 0), str(positions)]
        try:
            self._process = JsonProcess(command)
        except PeerFailed as reason:
            raise Problem(f"{FLAG}: cannot load {checkpoint}: {reason}") from None
        self.can_pad: bool = self._process.first["can_pad"]

    def run(self, texts: Sequence[str], batch_size: int) -> Run:
        def run() -> tuple[float, list[str]]:
            try:
                answer = self._process.ask({"texts": texts, "batch_size": batch_size})
            except PeerFailed as reason:
                raise Problem(f"{FLAG}: transformers: {reason}") from None
            return answer["seconds"], answer["labels"]

        return run

    def __enter__(self) -> "_Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()


def main(checkpoint: str, threads: str, positions: str) -> None:
    """Serve until stdin ends."""
    answers = own_stdout()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    import torch  # noqa: PLC0415
    from transformers import AutoTokenizer, pipeline  # noqa: PLC0415

    if int(threads):
        torch.set_num_threads(int(threads))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    classify: Any = pipeline(
        "text-classification", model=checkpoint, tokenizer=tokenizer, device="cpu", dtype=torch.float32
    )
    pad = classify.model.config.pad_token_id
    if pad is not None and tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    print(json.dumps({"can_pad": pad is not None}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        found = classify(request["texts"], batch_size=request["batch_size"], truncation=True, max_length=int(positions))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "labels": [each["label"] for each in found]}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
