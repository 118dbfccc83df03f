"""gpt2_evaluate compare: the cost of quantization or of another inference precision, as one table."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from gpt2_text_prediction.engine import model_path
from gpt2_text_prediction.text import load_tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.common.runtime import versions
from gpt2_tools.evaluate.compare import (
    LogitsModel,
    check_vocabularies,
    joined_windows,
    load_models,
    size_of,
    summary,
    window_differences,
)
from gpt2_tools.evaluate.divergence import Differences
from gpt2_tools.evaluate.model import runtime_lines
from gpt2_tools.evaluate.perplexity import exp
from gpt2_tools.evaluate.texts import encode, read_text
from gpt2_tools.evaluate.windows import omz_windows
from omz_model_tools.common import INTERRUPTED, Report

HEADINGS = (
    "Model",
    "MB",
    "Perplexity",
    "Against the reference",
    "KL, mean",
    "KL, 99th percentile",
    "KL, largest",
    "Same first choice",
)


def run(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    text = read_text(args.text).with_universal_newlines()
    reference, *candidates = _load(args)
    tokenizer = load_tokenizer(reference.spec.path, args.vocab, args.merges, reference.vocab_size)
    context = _context(args.context, [reference, *candidates])
    tokens = encode(tokenizer, text.text)
    windows = omz_windows(len(tokens), context)[: args.limit]
    if not windows:
        raise Problem(f"{text.path}: has {len(tokens)} tokens; expected at least {context}, one window: give --context")
    start = time.perf_counter()
    parts = window_differences(reference, candidates, tokens, windows)
    found, done, interrupted = joined_windows(parts, partial(counted, total=len(windows), unit="window"))
    facts = {
        **_figures(reference, candidates, found),
        "tokens": len(tokens),
        "windows": done,
        "tokens_scored": found[0].reference.size,
        "interrupted": interrupted,
        "method": "omz",
        "context": context,
        "text": text.facts(),
        "device": args.device,
        "seconds": time.perf_counter() - start,
        "versions": versions(),
    }
    _print(Report(sys.stdout, sys.stderr), facts)
    return INTERRUPTED if interrupted else 0


def _load(args: argparse.Namespace) -> list[LogitsModel]:
    """Load the reference and the candidates."""
    specs = [spec._replace(path=model_path(spec.path)) for spec in (args.reference, *args.candidates)]
    reference, *candidates = load_models(specs, args.device, args.num_threads)
    check_vocabularies(reference, candidates)
    return [reference, *candidates]


def _context(requested: int | None, models: list[LogitsModel]) -> int:
    known = [(model.n_positions, model.spec.path) for model in models if model.n_positions is not None]
    longest, path = min(known, default=(requested, None))
    if longest is None:
        raise Problem(f"{models[0].spec.path}: does not state its number of positions: give --context")
    if requested is not None and not 2 <= requested <= longest:
        raise Problem(f"--context: expected 2 .. {longest}, the positions of {path}, got {requested}")
    return requested or longest


def _figures(reference: LogitsModel, candidates: list[LogitsModel], found: list[Differences]) -> dict[str, Any]:
    perplexity = exp(-float(found[0].reference.mean()))
    return {
        "reference": {**_facts(reference), "perplexity": perplexity},
        "candidates": [{**_facts(model), **summary(each)} for model, each in zip(candidates, found, strict=True)],
    }


def _facts(model: LogitsModel) -> dict[str, Any]:
    spec = model.spec
    return {"model": spec.name, "bytes": size_of(spec.path), "precision_hint": spec.hint, **model.settings}


def _print(report: Report, facts: dict[str, Any]) -> None:
    for line in table(facts):
        report.line(line)
    text = facts["text"]
    part = "interrupted: the figures are of" if facts["interrupted"] else "measured on"
    report.line()
    report.line(f"{part} {facts['windows']} disjoint windows of {facts['context']} tokens, the rest left out")
    lines = {"text": f"{text['path']}, SHA-256 {text['sha256']}"} | runtime_lines(facts | facts["reference"])
    for name, line in (lines | {"time": f"{facts['seconds']:.1f} s"}).items():
        report.line(f"{name:<16} {line}")
    report.line(json.dumps(facts))


def table(facts: Mapping[str, Any]) -> list[str]:
    """Return the models' figures as lines of Markdown, the reference first."""
    reference = facts["reference"]
    rows = [[*_first_cells(reference), "reference", *[""] * 4]]
    for candidate in facts["candidates"]:
        change = f"{100 * (candidate['perplexity_ratio'] - 1):+.2f} %"
        divergences = [f"{candidate[name]:.2g}" for name in ("kl_mean", "kl_p99", "kl_max")]
        rows.append([*_first_cells(candidate), change, *divergences, f"{100 * candidate['same_top']:.2f} %"])
    alignment = ["---", *["---:"] * (len(HEADINGS) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (HEADINGS, alignment, *rows)]


def _first_cells(model: Mapping[str, Any]) -> list[str]:
    return [f"`{model['model']}`", f"{model['bytes'] / 1e6:.1f}", f"{model['perplexity']:.2f}"]
