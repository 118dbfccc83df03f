"""The IR that a measurement of gpt2_evaluate is of: its options, its scorer and its tokenizer."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_text_prediction.cli.arguments import PRECISION_HINTS
from gpt2_text_prediction.engine.ir import check_files
from gpt2_text_prediction.generator import check_fit, find_tokenizer_files
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.runtime import versions
from gpt2_tools.evaluate.scorer import Scorer, load_scorer, scoring_configuration
from omz_model_tools.common import positive_int


@dataclass(frozen=True)
class Subject:
    """A scorer and the tokenizer that fits it."""

    scorer: Scorer
    tokenizer: GPT2Tokenizer
    device: str

    def facts(self) -> dict[str, object]:
        """Return what a result must name: which model ran, on what, and how exactly."""
        return {
            "model": str(self.scorer.path),
            "device": self.device,
            **self.scorer.settings(),
            "versions": versions(),
        }


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the device and its threads."""
    parser.add_argument("-d", "--device", default="CPU", help="device (default: %(default)s)")
    threads = "threads (default: the device's)"
    parser.add_argument("-nthreads", "--num_threads", type=positive_int, metavar="N", help=threads)


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the arithmetic."""
    hint = "arithmetic: f32 is exact, device what it prefers by itself (default: %(default)s)"
    parser.add_argument("--precision_hint", choices=PRECISION_HINTS, default="f32", help=hint)


def add_tokenizer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the vocabulary lies, with the names that they have in the demo."""
    for name in ("vocab", "merges"):
        file = f"{name}.{'json' if name == 'vocab' else 'txt'}"
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{file} (default: that beside the model)")


def load_subject(args: argparse.Namespace, model: Path, max_seq_len: int | None = None) -> Subject:
    """Load a model with its tokenizer, by the options above.

    Raises Problem for files or options that cannot be used, and for a tokenizer of another model.
    """
    check_files(model)
    tokenizer = GPT2Tokenizer(*find_tokenizer_files(model, args.vocab, args.merges))
    config = scoring_configuration(args.device, args.precision_hint, args.num_threads)
    scorer = load_scorer(model, args.device, config, max_seq_len)
    check_fit(scorer.path, scorer.vocab_size, tokenizer)
    return Subject(scorer, tokenizer, args.device)


def runtime_lines(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines of a table that say how exactly a model ran, and on what."""
    return {
        "precision": f"{facts['inference_precision']}, cache {facts['kv_cache_precision']}, dynamic quantization in "
        f"groups of {facts['dynamic_quantization_group_size']}",
        "runtime": f"openvino {facts['versions']['openvino']}, {facts['device']}, {facts['threads']} threads",
    }
