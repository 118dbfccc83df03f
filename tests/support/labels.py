"""Checkpoints of GPT2ForSequenceClassification: a toy or any other checkpoint with a head for labels put on it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import gpt2_recipe
from support import numpy_gpt2
from support.toy import Toy, save

COMMON = {"architectures": ["GPT2ForSequenceClassification"]}
SPAM = ("ham", "spam")


def write_classifier(toy: Toy, folder: Path, labels: Sequence[str] | None, pad: int | None, **fields: Any) -> Path:
    """Write a toy with a head; labels None: fields say what config.json has of them. Return the folder."""
    count = len(labels) if labels is not None else fields.get("num_labels", 2)
    return add_head(toy.write(folder), folder, head(toy, count), labels, pad, **fields)


def head(toy: Toy, count: int) -> np.ndarray:  # [N, C]
    """The weight of a toy's head."""
    return np.random.default_rng(toy.seed + 1).normal(0, 1, (count, toy.n_embd)).astype(np.float32)


def add_head(
    source: Path, folder: Path, score: np.ndarray, labels: Sequence[str] | None, pad: int | None, **fields: Any
) -> Path:
    """Write the checkpoint in source with a head and its labels to a folder, and return that."""
    if source != folder:
        shutil.copytree(source, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "score.weight": score}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_bytes()) | COMMON | {"pad_token_id": pad} | fields
    if labels is not None:
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def ir(checkpoint: Path, path: Path) -> Path:
    """Convert to an FP32 IR with the tokenizer beside it; return its path."""
    conversion = gpt2_recipe.convert(checkpoint)
    for section, facts in conversion.facts.items():
        for name, fact in facts.items():
            conversion.model.set_rt_info(str(fact), [section, name])
    path.parent.mkdir(parents=True, exist_ok=True)
    for companion in conversion.companions:
        content = companion.read_bytes() if isinstance(companion, Path) else companion.content
        path.with_name(companion.name).write_bytes(content)
    return save(conversion.model, path)


def logits(toy: Toy, count: int, ids: Sequence[int]) -> np.ndarray:  # [L] -> [L, N]
    """What the oracle says of the labels after each token."""
    state = {**toy.state, "lm_head.weight": head(toy, count)}
    return numpy_gpt2.logits(list(ids), state, toy.n_head, toy.epsilon, toy.activation, toy.attention_scale)
