"""gpt2_evaluate lambada: accuracy and perplexity of a passage's last word, by the two definitions in use."""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_text_prediction.engine import model_path
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.evaluate.lambada import (
    Metrics,
    harness_passage,
    metrics,
    openai_passage,
    passage_likelihoods,
    read_passages,
)
from gpt2_tools.evaluate.model import (
    ModelUnderTest,
    load_model,
    runtime_lines,
)
from gpt2_tools.evaluate.scorer import Likelihood
from gpt2_tools.evaluate.texts import LAMBADA, Text, dataset_file, read_dataset, read_text
from omz_model_tools.common import INTERRUPTED, Report

DEFINITIONS = {"lm-evaluation-harness": harness_passage, "openai": openai_passage}


def run(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    text = _text(args)
    passages = read_passages(text.path, text.text)[: args.limit]
    args.model = model_path(args.model)
    model = load_model(args, args.model)
    start = time.perf_counter()
    targets, interrupted = _likelihoods(model, passages, args.batch)
    seconds = time.perf_counter() - start
    results = {name: metrics(column) for name, column in zip(DEFINITIONS, zip(*targets, strict=True), strict=True)}
    facts = {
        **{name: {key: _finite(value) for key, value in found._asdict().items()} for name, found in results.items()},
        "passages": len(targets),
        "interrupted": interrupted,
        "batch": args.batch,
        "data": {"path": str(text.path), "sha256": text.sha256},
        "seconds": seconds,
        **model.facts(),
    }
    _print(Report(sys.stdout, sys.stderr), results, facts, len(passages))
    return INTERRUPTED if interrupted else 0


def _text(args: argparse.Namespace) -> Text:
    if args.data is None:
        return read_dataset(dataset_file(LAMBADA), args.data_dir or Path())
    if args.data_dir is not None:
        raise Problem("--data, --data_dir: expected one of them")
    return read_text(args.data)


def _likelihoods(model: ModelUnderTest, passages: list[str], batch: int) -> tuple[list[tuple[Likelihood, ...]], bool]:
    """Return each passage's target by each definition, and whether Ctrl-C ended it before the last passage."""
    encode, max_tokens = model.tokenizer.encode, model.scorer.n_positions + 1
    columns = [
        passage_likelihoods(model.scorer.score, [prepare(text, encode, max_tokens) for text in passages], batch)
        for prepare in DEFINITIONS.values()
    ]
    found: list[tuple[Likelihood, ...]] = []
    try:
        for row in counted(zip(*columns, strict=True), len(passages), "passage"):
            found.append(row)  # not list(...): those before Ctrl-C are kept
    except KeyboardInterrupt:
        if not found:
            raise
        return found, True
    return found, False


def _print(report: Report, results: Mapping[str, Metrics], facts: Mapping[str, Any], passages: int) -> None:
    if facts["interrupted"]:
        report.line(f"interrupted: the figures are of the first {facts['passages']} passages")
    report.line(f"{'definition':<24}{'accuracy':<24}perplexity")
    for name, found in results.items():
        accuracy = _with_error(found.accuracy, found.accuracy_stderr, 4)
        report.line(f"{name:<24}{accuracy:<24}{_with_error(found.perplexity, found.perplexity_stderr, 2)}")
    data = facts["data"]
    lines = {"data": f"{facts['passages']} of {passages} passages, {data['path']}, SHA-256 {data['sha256']}"}
    for name, text in (lines | runtime_lines(facts) | {"time": f"{facts['seconds']:.1f} s"}).items():
        report.line(f"{name:<24}{text}")
    report.line(json.dumps(facts))


def _with_error(value: float, error: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
