"""Match the tensors of a checkpoint with the weights of a GPT-2: every published name, shape and dtype, or Problem.

Names and shapes: the checkpoints of openai-community/gpt2 and what transformers saves (facts in the README of
models/public/gpt-2).
"""

import math
import re
from pathlib import Path
from typing import TypeAlias

import numpy as np

from gpt2_recipe.classification import HEAD
from gpt2_recipe.config import GPT2Config
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.tensor import STORED_AS, StoredTensor, tensor_of

Weights: TypeAlias = dict[str, StoredTensor]

MASK_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
"""Constants of the original implementation, not weights (not to be confused with attn.c_attn.bias)."""
OTHER_HEADS = {
    "multiple_choice_head.": "the multiple-choice head of GPT2DoubleHeadsModel",
    "v_head.": "the value head of trl",
}
"""Prefix of the weights beside a language model's that are left out -> what they are."""
CLASSIFIERS = {
    HEAD: "GPT2ForSequenceClassification",
    "classifier.weight": "GPT2ForTokenClassification",
    "qa_outputs.weight": "GPT2ForQuestionAnswering",
}
"""A weight of a model that writes no text -> transformers' name of that model."""
LISTED = 6
"""Names of one kind that an error lists."""


def expected_shapes(config: GPT2Config) -> dict[str, tuple[int, ...]]:
    """Return every weight's name and shape; Conv1D weights are (in, out), embeddings (rows, n_embd).

    A head is among them if it gives labels.
    """
    width, inner = config.n_embd, config.n_inner
    block: dict[str, tuple[int, ...]] = {
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "attn.c_attn.weight": (width, 3 * width),
        "attn.c_attn.bias": (3 * width,),
        "attn.c_proj.weight": (width, width),
        "attn.c_proj.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
        "mlp.c_fc.weight": (width, inner),
        "mlp.c_fc.bias": (inner,),
        "mlp.c_proj.weight": (inner, width),
        "mlp.c_proj.bias": (width,),
    }
    embeddings = {"wte.weight": (config.vocab_size, width), "wpe.weight": (config.n_positions, width)}
    blocks = {f"h.{i}.{name}": shape for i in range(config.n_layer) for name, shape in block.items()}
    head = {} if config.classification is None else {HEAD: (len(config.classification.labels), width)}
    return {**embeddings, **blocks, "ln_f.weight": (width,), "ln_f.bias": (width,), **head}


def match_weights(path: Path, tensors: Weights, config: GPT2Config) -> Weights:
    """Return a GPT-2's tensors by their names; `lm_head.weight` is among them only where it is not tied.

    Where the attention has another scale than GPT-2's, it is multiplied into the queries' weights, so that whatever
    graph is built of them scales by 1 / sqrt(D) as always.

    Raises Problem, with the lists of missing, extra, misshapen and mistyped tensors, unless all are as the
    configuration says; `path` is only for that message.
    """
    found = published(path, tensors)
    shapes = expected_shapes(config)
    if config.classification is None and ("lm_head.weight" in found or not config.tie_word_embeddings):
        shapes["lm_head.weight"] = shapes["wte.weight"]
    _match_or_stop(path, found, shapes)
    if is_tied(found):
        found.pop("lm_head.weight", None)
    return found | _scaled_queries(found, config)


def _scaled_queries(found: Weights, config: GPT2Config) -> Weights:
    """Return the c_attn of the layers whose attention has another scale than GPT-2's."""
    scaled: Weights = {}
    for layer in range(config.n_layer):
        scale = 1.0 if config.scale_attn_weights else math.sqrt(config.n_embd // config.n_head)
        if config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        if scale != 1:
            for name in (f"h.{layer}.attn.c_attn.weight", f"h.{layer}.attn.c_attn.bias"):
                values = found[name].as_f32().copy()
                values[..., : config.n_embd] *= np.float32(scale)
                scaled[name] = tensor_of(values)
    return scaled


def is_tied(found: Weights) -> bool:
    """Whether the head is the embedding: it is stored as such, or not at all."""
    if "lm_head.weight" not in found or "wte.weight" not in found:
        return "lm_head.weight" not in found
    return _equal(found["lm_head.weight"], found["wte.weight"])


def widened_bytes(weights: Weights) -> int:
    """Return the memory, in bytes, of the weights that are not stored as F32: they are widened to copies."""
    return sum(4 * math.prod(tensor.shape) for tensor in weights.values() if tensor.dtype != "F32")


def published(path: Path, tensors: Weights) -> Weights:
    """Return the weights under their names without prefix; mask buffers and other heads are left out.

    Raises Problem for two of one name, and for a model of neither tokens nor labels of whole texts.
    """
    wrapper = _wrapper(tensors)
    found: Weights = {}
    for stored_name, tensor in tensors.items():
        name = stored_name.removeprefix(wrapper).removeprefix("transformer.")
        if name in found:
            raise Problem(f"{path}: expected {one_line(name)} once, got it with and without the prefix transformer.")
        if name in CLASSIFIERS and name != HEAD:
            raise no_language_model(path, name)
        if not MASK_BUFFER.fullmatch(name) and not name.startswith(tuple(OTHER_HEADS)):
            found[name] = tensor
    return found


def no_language_model(path: Path, name: str) -> Problem:
    """Return the Problem of a weight of CLASSIFIERS."""
    return Problem(
        f"{path}: expected a language model, got {CLASSIFIERS[name]}: its {name} gives classes, not tokens; "
        "give the model that it was trained from"
    )


def notes_on_heads(path: Path, tensors: Weights) -> list[str]:
    """Return a line for each other head that `published` leaves out."""
    wrapper = _wrapper(tensors)
    return [
        f"{path}: {head} ({prefix}*) is left out, and the language model alone converted"
        for prefix, head in OTHER_HEADS.items()
        if any(name.removeprefix(wrapper).startswith(prefix) for name in tensors)
    ]


def _wrapper(tensors: Weights) -> str:
    """Return the prefix that a training wrapper put before every name, such as `module.` or `_orig_mod.`, or ""."""
    embeddings = [name.removesuffix("wte.weight") for name in tensors if name.endswith("wte.weight")]
    return embeddings[0].removesuffix("transformer.") if len(embeddings) == 1 else ""


def _match_or_stop(path: Path, found: Weights, shapes: dict[str, tuple[int, ...]]) -> None:
    mismatches = {
        "missing": sorted(shapes.keys() - found.keys()),
        "extra": sorted(found.keys() - shapes.keys()),
        "misshapen": [
            f"{name} (expected {list(shape)}, got {list(found[name].shape)})"
            for name, shape in shapes.items()
            if name in found and found[name].shape != shape
        ],
        f"neither {', '.join(STORED_AS)}": [
            f"{name} ({tensor.dtype})" for name, tensor in found.items() if tensor.dtype not in STORED_AS
        ],
    }
    if any(mismatches.values()):
        listed = "; ".join(f"{kind}: {_shortened(names)}" for kind, names in mismatches.items() if names)
        raise Problem(f"{path}: does not have the weights that its config.json describes; {listed}")


def _shortened(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(map(one_line, names[:LISTED])) + (f" and {more} more" if more > 0 else "")


def _equal(a: StoredTensor, b: StoredTensor) -> bool:
    if a.dtype == b.dtype:
        return np.array_equal(a.data, b.data)
    return {a.dtype, b.dtype} <= STORED_AS.keys() and np.array_equal(a.as_f32(), b.as_f32())
