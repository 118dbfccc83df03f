"""gpt2_evaluate compare: what quantization, or another arithmetic, costs against a reference, in one table."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gpt2_text_prediction.cli.arguments import PRECISION_HINTS
from gpt2_text_prediction.engine.ir import check_files
from gpt2_text_prediction.generator import check_fit, find_tokenizer_files
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.common.runtime import versions
from gpt2_tools.evaluate.compare import (
    Contender,
    Logits,
    check_vocabularies,
    compare,
    figures,
    load_logits,
    size_of,
    window_differences,
)
from gpt2_tools.evaluate.divergence import Differences
from gpt2_tools.evaluate.model import add_device_arguments, add_tokenizer_arguments, runtime_lines
from gpt2_tools.evaluate.perplexity import exp
from gpt2_tools.evaluate.texts import encode, read_text
from gpt2_tools.evaluate.windows import omz_windows
from omz_model_tools.common import INTERRUPTED, Report, positive_int

HELP = "measure what quantization or another arithmetic costs against a reference"
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this measurement can be told."""
    hints = ", ".join(PRECISION_HINTS[1:])
    parser.add_argument("reference", type=_contender, metavar="REF", help="the IR that the others are held against")
    others = f"an IR; FILE@HINT runs it with an arithmetic other than f32: {hints} (what the device prefers)"
    parser.add_argument("candidates", type=_contender, nargs="+", metavar="IR", help=others)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="a text in UTF-8")
    context = "tokens of a window, of which the text is cut into whole ones (default: the models' positions)"
    parser.add_argument("--context", type=positive_int, metavar="N", help=context)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N windows")
    add_device_arguments(parser)
    add_tokenizer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    text = read_text(args.text)
    reference, *candidates = _load(args)
    tokenizer = GPT2Tokenizer(*find_tokenizer_files(args.reference.path, args.vocab, args.merges))
    check_fit(args.reference.path, reference.vocab_size, tokenizer)
    context = _context(args.context, [reference, *candidates])
    tokens = encode(tokenizer, text.text)
    windows = omz_windows(len(tokens), context)[: args.limit]
    if not windows:
        raise Problem(f"{text.path}: has {len(tokens)} tokens; expected at least {context}, a window: give --context")
    start = time.perf_counter()
    parts = window_differences(reference, candidates, tokens, windows)
    found, done, interrupted = compare(parts, partial(counted, total=len(windows), unit="window"))
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


def _contender(text: str) -> Contender:
    path, at, hint = text.rpartition("@")
    return Contender(Path(path), hint) if at and hint in PRECISION_HINTS else Contender(Path(text))


def _load(args: argparse.Namespace) -> list[Logits]:
    """Load the reference and the candidates; a file that is missing is told before any is compiled."""
    contenders = [args.reference, *args.candidates]
    for contender in contenders:
        check_files(contender.path)
    reference, *candidates = [load_logits(contender, args.device, args.num_threads) for contender in contenders]
    check_vocabularies(reference, candidates)
    return [reference, *candidates]


def _context(asked: int | None, models: list[Logits]) -> int:
    told = [(model.n_positions, model.contender.path) for model in models if model.n_positions is not None]
    most, path = min(told, default=(asked, None))
    if most is None:
        raise Problem(f"{models[0].contender.path}: does not tell its number of positions: give --context")
    if asked is not None and not 2 <= asked <= most:
        raise Problem(f"--context: expected 2 .. {most}, the positions of {path}, got {asked}")
    return asked or most


def _figures(reference: Logits, candidates: list[Logits], found: list[Differences]) -> dict[str, Any]:
    perplexity = exp(-float(found[0].reference.mean()))
    return {
        "reference": {**_facts(reference), "perplexity": perplexity},
        "candidates": [{**_facts(model), **figures(each)} for model, each in zip(candidates, found, strict=True)],
    }


def _facts(model: Logits) -> dict[str, Any]:
    name, path = model.contender.name, model.contender.path
    return {"model": name, "bytes": size_of(path), "precision_hint": model.contender.hint, **model.settings}


def _print(report: Report, facts: dict[str, Any]) -> None:
    for line in table(facts):
        report.line(line)
    text = facts["text"]
    part = "interrupted: the figures are those of" if facts["interrupted"] else "measured on"
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
    for one in facts["candidates"]:
        change = f"{100 * (one['perplexity_ratio'] - 1):+.2f} %"
        divergences = [f"{one[name]:.2g}" for name in ("kl_mean", "kl_p99", "kl_max")]
        rows.append([*_first_cells(one), change, *divergences, f"{100 * one['same_top']:.2f} %"])
    marks = ["---", *["---:"] * (len(HEADINGS) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (HEADINGS, marks, *rows)]


def _first_cells(one: Mapping[str, Any]) -> list[str]:
    return [f"`{one['model']}`", f"{one['bytes'] / 1e6:.1f}", f"{one['perplexity']:.2f}"]
