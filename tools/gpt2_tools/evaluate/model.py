"""The model under test of gpt2_evaluate: its command-line options, its scorer and its tokenizer."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from gpt2_text_prediction.engine import read_ir
from gpt2_text_prediction.text import END_OF_TEXT, GPT2Tokenizer, load_tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import versions
from gpt2_tools.evaluate.scorer import Scorer, compile_scorer, scoring_config


@dataclass(frozen=True)
class ModelUnderTest:
    """A scorer with the model's tokenizer."""

    scorer: Scorer
    tokenizer: GPT2Tokenizer
    device: str

    def start_token(self) -> int:
        """Return the token that starts a text. Raises Problem where there is none."""
        return required_token(self.scorer.path, start_token(self.scorer, self.tokenizer))

    def facts(self) -> dict[str, object]:
        """Return what a result depends on: the model, the device, its threads and precisions, the versions."""
        return {
            "model": str(self.scorer.path),
            "device": self.device,
            **self.scorer.settings(),
            "versions": versions(),
        }


def start_token(scorer: Scorer, tokenizer: GPT2Tokenizer) -> int | None:
    """Return the token that starts a text, or else ends one, as the checkpoint or its tokenizer says."""
    return end_token(scorer, tokenizer) if scorer.bos_token_id is None else scorer.bos_token_id


def end_token(scorer: Scorer, tokenizer: GPT2Tokenizer) -> int | None:
    """Return the token that ends a text, the first of several, as the checkpoint or its tokenizer says."""
    return next(iter(scorer.eos_token_ids), tokenizer.end_of_text_id)


def required_token(model: Path, token: int | None) -> int:
    """Return a token that starts a text; raise Problem where there is none."""
    if token is None:
        raise Problem(f"{model}: the vocabulary has no {END_OF_TEXT} to start a text with")
    return token


def load_model(args: argparse.Namespace, path: Path, max_seq_len: int | None = None) -> ModelUnderTest:
    """Load a model with its tokenizer, by the options above.

    Raises Problem for files or options that cannot be used, and for a tokenizer of another model.
    """
    core = ov.Core()
    ir = read_ir(core, path)
    tokenizer = load_tokenizer(path, args.vocab, args.merges, ir.vocab_size)
    config = scoring_config(args.device, args.precision_hint, args.num_threads)
    scorer = compile_scorer(core, ir, config, max_seq_len)
    return ModelUnderTest(scorer, tokenizer, args.device)


def runtime_lines(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines of a table with the precisions and the runtime."""
    return {
        "precision": f"{facts['inference_precision']}, cache {facts['kv_cache_precision']}, dynamic quantization in "
        f"groups of {facts['dynamic_quantization_group_size']}",
        "runtime": f"openvino {facts['versions']['openvino']}, {facts['device']}, {facts['threads']} threads",
    }
