"""Read what a GPT2ForSequenceClassification's config.json says of its labels, and which token pads a text.

Names and defaults: transformers' PretrainedConfig; the head is its score.weight, [num_labels, n_embd].
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem, one_line

TASK = "classification"
HEAD = "score.weight"
MULTI_LABEL = "multi_label_classification"
PROBLEM_TYPES = ("single_label_classification", MULTI_LABEL)


@dataclass(frozen=True)
class Classification:
    """The labels in the order of their ids, and the token that may follow a text in a batch, if there is one.

    multi_label: whether each label has a probability of its own, rather than a share of one.
    """

    labels: tuple[str, ...]
    pad_token_id: int | None
    multi_label: bool

    def facts(self) -> dict[str, str | int]:
        """Return what an IR says of it in rt_info; the labels as a list in JSON."""
        facts: dict[str, str | int] = {"task": TASK, "labels": json.dumps(self.labels)}
        if self.pad_token_id is not None:
            facts["pad_token_id"] = self.pad_token_id
        if self.multi_label:
            facts["problem_type"] = MULTI_LABEL
        return facts


def names_classifier(path: Path) -> bool:
    """Return whether a config.json says that its weights are those of a GPT2ForSequenceClassification."""
    return read_object(path).get("architectures") == ["GPT2ForSequenceClassification"]


def read_classification(path: Path, vocab_size: int) -> Classification:
    """Read the fields of a config.json. Raises Problem for values that are broken or not implemented."""
    fields = read_object(path)
    labels = _labels(path, fields)
    return Classification(labels, _pad_token_id(path, fields, vocab_size), _is_multi_label(path, fields, labels))


def _labels(path: Path, fields: dict[str, Any]) -> tuple[str, ...]:
    """Return id2label, else LABEL_0 ... of num_labels, which is 2 unless it is given."""
    names = fields.get("id2label")
    if names is None:
        count = 2 if fields.get("num_labels") is None else fields["num_labels"]
        if type(count) is not int or not 1 <= count <= 1 << 24:
            raise Problem(f'{path}: "num_labels": expected a whole number from 1, got {one_line(json.dumps(count))}')
        return tuple(f"LABEL_{i}" for i in range(count))
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise Problem(f'{path}: "id2label": expected an object of names by id, got {one_line(json.dumps(names)):.80}')
    missing = next((i for i in range(len(names)) if str(i) not in names), None)
    if missing is not None:
        raise Problem(f'{path}: "id2label": expected the ids 0 .. {len(names) - 1}, got no {missing}')
    given = fields.get("num_labels")
    if given is not None and given != len(names):
        raise Problem(
            f'{path}: "num_labels": expected {len(names)}, as id2label has, got {one_line(json.dumps(given))}'
        )
    return tuple(names[str(i)] for i in range(len(names)))


def _pad_token_id(path: Path, fields: dict[str, Any], vocab_size: int) -> int | None:
    value = fields.get("pad_token_id")
    if value is None or (type(value) is int and 0 <= value < vocab_size):
        return value
    raise Problem(f'{path}: "pad_token_id": expected a token id below {vocab_size} or null, got {value!r}')


def _is_multi_label(path: Path, fields: dict[str, Any], labels: tuple[str, ...]) -> bool:
    """Return whether transformers' pipeline gives each label a probability of its own, as it does a single one."""
    value = fields.get("problem_type")
    if value is not None and value not in PROBLEM_TYPES:
        raise Problem(
            f'{path}: "problem_type": expected {" or ".join(PROBLEM_TYPES)}, got {one_line(json.dumps(value))}; '
            "a model that gives numbers in place of labels is not converted"
        )
    return value == MULTI_LABEL or len(labels) == 1
