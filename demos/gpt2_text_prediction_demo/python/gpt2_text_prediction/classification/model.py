"""Reads an IR that gives labels, checks it, and returns it with its facts."""

import json
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from gpt2_text_prediction.engine.ir import read_model, text_fact
from gpt2_text_prediction.problem import Problem

TASK = "classification"
MULTI_LABEL = "multi_label_classification"


@dataclass(frozen=True)
class LabelModel:
    """A model of one input, token ids [B, L], and one output, logits [B, N] of N labels.

    pad_token_id: follows the shorter texts of a batch; without one (None) a row's last token is its text's last.
    multi_label: whether each label has a probability of its own, rather than a share of one.
    """

    path: Path
    model: ov.Model
    labels: tuple[str, ...]
    pad_token_id: int | None
    multi_label: bool
    n_positions: int
    vocab_size: int


def read_label_model(core: ov.Core, path: Path) -> LabelModel:
    """Read a model and check that it gives labels.

    Raises Problem when a file is missing or damaged, or the model is of another kind.
    """
    model = read_model(core, path)
    if text_fact(model, "task") != TASK:
        raise Problem(
            f"{path}: expected a model of labels, which omz_converter makes of a GPT2ForSequenceClassification, got "
            f"another; texts are continued by gpt2_text_prediction_demo -m {path}"
        )
    labels = _labels(path, model)
    pad, n_positions, vocab_size = (_whole(model, name) for name in ("pad_token_id", "n_positions", "vocab_size"))
    ids, logits = model.input(0).partial_shape, model.output(0).partial_shape
    if n_positions is None or vocab_size is None or len(ids) != 2 or logits != ov.PartialShape([-1, len(labels)]):
        raise Problem(
            f"{path}: expected token ids [B, L] in and logits [B, {len(labels)}] out, got {ids} and {logits}; "
            "convert the checkpoint again"
        )
    multi_label = text_fact(model, "problem_type") == MULTI_LABEL
    return LabelModel(path, model, labels, pad, multi_label, n_positions, vocab_size)


def _labels(path: Path, model: ov.Model) -> tuple[str, ...]:
    try:
        labels = json.loads(text_fact(model, "labels") or "")
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise Problem(f"{path}: its rt_info lists no labels; convert the checkpoint again")
    return tuple(labels)


def _whole(model: ov.Model, name: str) -> int | None:
    fact = text_fact(model, name)
    return int(fact) if fact is not None and fact.isdecimal() and len(fact) < 10 else None
