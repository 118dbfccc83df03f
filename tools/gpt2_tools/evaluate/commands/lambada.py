"""gpt2_evaluate lambada: how often a model knows a passage's last word, by the two definitions that are in use."""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_tools.common.progress import counted
from gpt2_tools.evaluate.lambada import (
    LAMBADA,
    Answer,
    Measure,
    answers,
    harness_passage,
    measure,
    openai_passage,
    read_passages,
)
from gpt2_tools.evaluate.model import (
    Subject,
    add_device_arguments,
    add_precision_argument,
    add_tokenizer_arguments,
    load_subject,
    runtime_lines,
)
from gpt2_tools.evaluate.texts import read_dataset, read_text
from omz_model_tools.common import INTERRUPTED, Report, positive_int

HELP = "measure accuracy and perplexity of a passage's last word"
DEFINITIONS = {"lm-evaluation-harness": harness_passage, "openai": openai_passage}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this measurement can be told."""
    parser.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help="the IR, an .xml, or an .onnx")
    data = 'passages, {"text": ...} a line (default: the data set lambada, as omz_data_downloader brings it)'
    parser.add_argument("--data", type=Path, metavar="FILE", help=data)
    folder = "where omz_data_downloader put it, its -o (default: the current folder)"
    parser.add_argument("--data_dir", type=Path, default=Path(), metavar="DIR", help=folder)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N passages")
    batch = "passages at once (default: %(default)s)"
    parser.add_argument("--batch", type=positive_int, default=8, metavar="N", help=batch)
    add_device_arguments(parser)
    add_precision_argument(parser)
    add_tokenizer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    text = read_dataset(LAMBADA, args.data_dir) if args.data is None else read_text(args.data)
    passages = read_passages(text.path, text.text)[: args.limit]
    subject = load_subject(args, args.model)
    start = time.perf_counter()
    found, interrupted = _answers(subject, passages, args.batch)
    seconds = time.perf_counter() - start
    measures = {name: measure(column) for name, column in zip(DEFINITIONS, zip(*found, strict=True), strict=True)}
    facts = {
        **{name: {key: _finite(value) for key, value in one._asdict().items()} for name, one in measures.items()},
        "passages": len(found),
        "interrupted": interrupted,
        "batch": args.batch,
        "data": {"path": str(text.path), "sha256": text.sha256},
        "seconds": seconds,
        **subject.facts(),
    }
    _print(Report(sys.stdout, sys.stderr), measures, facts, len(passages))
    return INTERRUPTED if interrupted else 0


def _answers(subject: Subject, passages: list[str], batch: int) -> tuple[list[tuple[Answer, ...]], bool]:
    """Return the answers to each passage by each definition, and whether Ctrl-C ended it before the last."""
    most = subject.scorer.n_positions + 1
    ways = [
        answers(subject.scorer.score, [cut(text, subject.tokenizer.encode, most) for text in passages], batch)
        for cut in DEFINITIONS.values()
    ]
    found: list[tuple[Answer, ...]] = []
    try:
        for each in counted(zip(*ways, strict=True), len(passages), "passage"):
            found.append(each)  # what was found before Ctrl-C is kept
    except KeyboardInterrupt:
        if not found:
            raise
        return found, True
    return found, False


def _print(report: Report, measures: Mapping[str, Measure], facts: Mapping[str, Any], wanted: int) -> None:
    if facts["interrupted"]:
        report.line(f"interrupted: the figures are those of the first {facts['passages']} passages")
    report.line(f"{'definition':<24}{'accuracy':<24}perplexity")
    for name, one in measures.items():
        accuracy = _with_error(one.accuracy, one.accuracy_stderr, 4)
        report.line(f"{name:<24}{accuracy:<24}{_with_error(one.perplexity, one.perplexity_stderr, 2)}")
    data = facts["data"]
    lines = {"data": f"{facts['passages']} of {wanted} passages, {data['path']}, SHA-256 {data['sha256']}"}
    for name, text in (lines | runtime_lines(facts) | {"time": f"{facts['seconds']:.1f} s"}).items():
        report.line(f"{name:<24}{text}")
    report.line(json.dumps(facts))


def _with_error(value: float, error: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
