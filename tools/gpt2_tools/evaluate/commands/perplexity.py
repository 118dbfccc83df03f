"""gpt2_evaluate perplexity: the perplexity of a text, by Open Model Zoo's or Hugging Face's protocol."""

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_text_prediction.engine import model_path
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.common.transformers_process import transformers_process
from gpt2_tools.evaluate.model import (
    ModelUnderTest,
    load_model,
    runtime_lines,
)
from gpt2_tools.evaluate.perplexity import Losses, losses_of
from gpt2_tools.evaluate.scorer import Score, Tokens
from gpt2_tools.evaluate.texts import Text, dataset_file, encode, read_dataset, read_text
from gpt2_tools.evaluate.windows import Window, omz_windows, strided_windows
from gpt2_tools.evaluate.with_transformers import Beside, transformers_score
from omz_model_tools.common import INTERRUPTED, Report


def run(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    if args.stride is not None and args.method != "strided":
        raise Problem(f"--stride: belongs to --method strided; the method is {args.method}")
    if args.data_dir is not None and args.dataset is None:
        raise Problem("--data_dir: belongs to --dataset; the text is of --text")
    if args.checkpoint is not None and not args.with_transformers:
        raise Problem("--checkpoint: belongs to --with-transformers, which was not given")
    text = _text(args)
    args.model = model_path(args.model)
    model = load_model(args, args.model, max_seq_len=args.context)
    context = context_of(args.context, model)
    stride = _stride(args, context)
    tokens, of_text, start_token = _tokens(args, model, text)
    windows = _windows(text, tokens, context, stride)
    with _score(args, model) as score:
        start = time.perf_counter()
        losses, interrupted = losses_of(
            score, tokens, windows[: args.limit], args.batch, partial(counted, unit="window")
        )
        seconds = time.perf_counter() - start
    facts = summary(losses, text, of_text) | {
        "interrupted": interrupted,
        "method": args.method,
        "start_token": start_token,
        "context": context,
        "stride": stride,
        "batch": args.batch,
        "windows_in_text": len(windows),
        "text": text.facts(),
        "seconds": seconds,
        **model.facts(),
        **({"transformers": score.facts()} if isinstance(score, Beside) else {}),
    }
    _print(Report(sys.stdout, sys.stderr), facts, text)
    return INTERRUPTED if interrupted else 0


def summary(losses: Losses, text: Text, tokens: int) -> dict[str, object]:
    """Return the figures under their names in JSON; a number that JSON cannot hold is None.

    Per word and per byte are normalised by the ratios of the whole text: unscored tokens are assumed to have the mean
    loss.
    """
    per_word = losses.perplexity_per(tokens / text.words) if text.words else math.inf
    numbers = {
        "perplexity": losses.perplexity,
        "perplexity_stderr": losses.perplexity_stderr,
        "word_perplexity": per_word,
        "bits_per_byte": losses.bits_per(tokens / text.bytes),
    }
    finite = {name: n if n is not None and math.isfinite(n) else None for name, n in numbers.items()}
    return {**finite, "tokens": tokens, "windows": losses.windows, "tokens_scored": losses.count}


def context_of(requested: int | None, model: ModelUnderTest, option: str = "--context") -> int:
    """Return the tokens of a window; raise Problem, naming the option, if they do not fit the model's positions."""
    n_positions = model.scorer.n_positions
    if requested is not None and not 2 <= requested <= n_positions:
        raise Problem(f"{option}: expected 2 .. {n_positions}, the positions of {model.scorer.path}, got {requested}")
    return requested or n_positions


def _text(args: argparse.Namespace) -> Text:
    """Return the text to encode, with Open Model Zoo's newlines, or a data set's lines joined as Hugging Face does."""
    if args.dataset is None:
        text = read_text(args.text)
    else:
        text = read_dataset(dataset_file(args.dataset), args.data_dir or Path())
    if args.method == "omz":
        return text.with_universal_newlines()
    return text if args.dataset is None else text.lines_joined()


def _tokens(args: argparse.Namespace, model: ModelUnderTest, text: Text) -> tuple[Tokens, int, int | None]:
    """Return the tokens to run, how many of them are the text's, and the one put before it, None without one."""
    tokens = encode(model.tokenizer, text.text)
    if not args.add_start_token or tokens[:1].tolist() == [start := model.start_token()]:
        return tokens, len(tokens), None
    return np.concatenate([[start], tokens]), len(tokens), start


def _stride(args: argparse.Namespace, context: int) -> int | None:
    """Return the stride, None for a method without one; raise Problem if windows would leave tokens out."""
    if args.method != "strided":
        return None
    if args.stride is not None and args.stride > context:
        raise Problem(f"--stride: expected 1 .. {context}, the tokens of a window, got {args.stride}")
    return args.stride or context // 2


def _windows(text: Text, tokens: Tokens, context: int, stride: int | None) -> list[Window]:
    if stride is None:
        windows = omz_windows(len(tokens), context)
        expected = f"{context}, a window of --method omz; give a smaller --context, or --method strided"
    else:
        windows = strided_windows(len(tokens), context, stride)
        expected = "2, of which the second is scored"
    if not windows:
        raise Problem(f"{text.path}: has {len(tokens)} tokens; expected at least {expected}")
    return windows


@contextlib.contextmanager
def _score(args: argparse.Namespace, model: ModelUnderTest) -> Iterator[Score]:
    if not args.with_transformers:
        yield model.scorer.score
        return
    folder = args.checkpoint or args.model.parent.parent / "gpt2"
    with transformers_process(folder, model.scorer.settings()["threads"] or "1") as ask:
        yield Beside(model.scorer.score, transformers_score(ask))


def _print(report: Report, facts: Mapping[str, Any], text: Text) -> None:
    """Print a table, then all of it as one line of JSON."""
    if facts["interrupted"]:
        report.line(f"interrupted: the figures are of {facts['windows']} windows")
    for name, value in _table(facts, text).items():
        report.line(f"{name:<16} {value}")
    report.line(json.dumps(facts))


def _table(facts: Mapping[str, Any], text: Text) -> dict[str, str]:
    stride = "" if facts["stride"] is None else f", stride {facts['stride']}"
    start = "" if facts["start_token"] is None else f", after the start token {facts['start_token']}"
    scored = facts["tokens_scored"]
    table = {
        "text": f"{text.path}, {text.form}; {text.bytes} bytes, SHA-256 {text.sha256}",
        "tokens": f"{facts['tokens']}, of which {scored} were scored in {facts['windows']} windows",
        "method": f"{facts['method']}, context {facts['context']}{stride}{start}",
        **runtime_lines(facts),
        "perplexity": formatted(facts["perplexity"]) + _error(facts),
        "word perplexity": formatted(facts["word_perplexity"]),
        "bits per byte": formatted(facts["bits_per_byte"]),
    }
    if "transformers" not in facts:
        return table | {"time": f"{facts['seconds']:.1f} s, {scored / facts['seconds']:.0f} tokens/s"}
    peer = facts["transformers"]
    return table | {
        "time": f"{peer['ours_seconds']:.1f} s, {scored / peer['ours_seconds']:.0f} tokens/s",
        "transformers": f"{peer['seconds']:.1f} s at f32; ours is {peer['times_faster']:.2f} times as fast, "
        f"log-probabilities at most {peer['largest_difference']:.1e} apart",
    }


def _error(facts: Mapping[str, Any]) -> str:
    if facts["tokens_scored"] == 1:
        return " (of one token there is no error estimate)"
    return f" ± {formatted(facts['perplexity_stderr'])}"


def formatted(number: float | None) -> str:
    """Return a figure as the table shows it."""
    return "inf" if number is None else f"{number:.4f}"
