"""Read and check the config.json of a Hugging Face GPT-2.

A field that changes the mathematics and is not implemented is refused, never ignored.
Field names and defaults: transformers' GPT2Config.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe.classification import Classification
from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem, one_line

ACTIVATIONS = {
    "gelu_new": "TANH",
    "gelu_pytorch_tanh": "TANH",
    "gelu_python_tanh": "TANH",
    "gelu_accurate": "TANH",
    "gelu_fast": "TANH",  # with sqrt(2 / pi) cut to 0.7978845608, which f32 does not tell from it
    "gelu": "ERF",
    "gelu_python": "ERF",
}
"""activation_function, for the GELUs -> approximation_mode of OpenVINO's Gelu."""
OTHER_ACTIVATIONS = ("gelu_10", "quick_gelu", "relu", "relu2", "silu", "swish", "tanh", "mish")
"""The names in transformers' ACT2FN of the others that the graph has."""

ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""GPT2Config's attribute_map: another name of a field, which overrides the field where both are given."""

ONLY_IMPLEMENTED = {
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
}
"""Fields of which only this value is implemented; absent or null means the same."""

MOST_LAYERS = 1000
GPT2_EOS = 50256
"""GPT2Config's default for eos_token_id and bos_token_id."""


@dataclass(frozen=True)
class GPT2Config:
    """The fields of config.json that the graph depends on."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    layer_norm_epsilon: float
    activation_function: str
    tie_word_embeddings: bool
    eos_token_ids: tuple[int, ...]
    bos_token_ids: tuple[int, ...] = ()
    scale_attn_weights: bool = True  # by 1 / sqrt(n_embd / n_head)
    scale_attn_by_inverse_layer_idx: bool = False  # by 1 / (layer + 1) too; reorder_and_upcast_attn only says when
    classification: Classification | None = None  # of a model that gives labels in place of tokens


def read_config(path: Path) -> GPT2Config:
    """Read and check a config.json.

    Raises Problem if it is missing or broken, or has a value that is not implemented.
    """
    return config_of(path, read_object(path))


def config_of(path: Path, fields: dict[str, Any]) -> GPT2Config:
    """Check the fields of a config.json, and fill in defaults; `path` is only for error messages."""
    _refuse_other_architectures(path, fields)
    fields = fields | {published: fields[alias] for alias, published in ALIASES.items() if alias in fields}
    for name, expected in ONLY_IMPLEMENTED.items():
        found = expected if fields.get(name) is None else fields[name]
        if type(found) is not type(expected) or found != expected:
            raise Problem(
                f'{path}: "{name}": expected {json.dumps(expected)}, got {json.dumps(found)}; '
                "the gpt2 recipe implements no other value"
            )
    n_embd = positive_int(path, fields, "n_embd", 768)
    n_head = positive_int(path, fields, "n_head", 12)
    if n_embd % n_head:
        raise Problem(f'{path}: "n_head": expected a divisor of n_embd {n_embd}, got {n_head}')
    vocab_size = positive_int(path, fields, "vocab_size", 50257)
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=positive_int(path, fields, "n_positions", 1024),
        n_embd=n_embd,
        n_layer=_n_layer(path, fields),
        n_head=n_head,
        n_inner=4 * n_embd if fields.get("n_inner") is None else positive_int(path, fields, "n_inner", 0),
        layer_norm_epsilon=_epsilon(path, fields),
        activation_function=_activation(path, fields),
        tie_word_embeddings=_boolean(path, fields, "tie_word_embeddings", True),
        eos_token_ids=token_ids(path, _with_default_ids(fields, vocab_size), "eos_token_id", vocab_size),
        bos_token_ids=token_ids(path, _with_default_ids(fields, vocab_size), "bos_token_id", vocab_size),
        scale_attn_weights=_boolean(path, fields, "scale_attn_weights", True),
        scale_attn_by_inverse_layer_idx=_boolean(path, fields, "scale_attn_by_inverse_layer_idx", False),
    )


def _refuse_other_architectures(path: Path, fields: dict[str, Any]) -> None:
    found = fields.get("model_type", "gpt2")
    if found != "gpt2":
        raise Problem(
            f'{path}: "model_type": expected "gpt2", got {json.dumps(found)}; this recipe only converts GPT-2'
        )
    architectures = fields.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    if "model_type" not in fields and names and not str(names[0]).startswith("GPT2"):
        raise Problem(
            f'{path}: "architectures": expected GPT2LMHeadModel, got {one_line(names[0])}; '
            "this recipe only converts GPT-2"
        )


def positive_int(path: Path, fields: dict[str, Any], name: str, default: int) -> int:
    """Return a field that is a count, or `default` if it is absent."""
    value = fields.get(name, default)
    if type(value) is not int or value < 1:
        raise Problem(f'{path}: "{name}": expected a positive integer, got {value!r}')
    return value


def _n_layer(path: Path, fields: dict[str, Any]) -> int:
    value = positive_int(path, fields, "n_layer", 12)
    if value > MOST_LAYERS:  # the names of a billion layers' weights would fill the memory
        raise Problem(f'{path}: "n_layer": expected at most {MOST_LAYERS}, got {value}')
    return value


def _boolean(path: Path, fields: dict[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise Problem(f'{path}: "{name}": expected true or false, got {value!r}')
    return value


def _epsilon(path: Path, fields: dict[str, Any]) -> float:
    value = fields.get("layer_norm_epsilon", 1e-5)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise Problem(f'{path}: "layer_norm_epsilon": expected a number between 0 and 1, got {value!r}')
    return float(value)


def _activation(path: Path, fields: dict[str, Any]) -> str:
    value = fields.get("activation_function", "gelu_new")
    known = (*ACTIVATIONS, *OTHER_ACTIVATIONS)
    if not isinstance(value, str) or value not in known:
        raise Problem(f'{path}: "activation_function": expected one of {", ".join(known)}, got {value!r}')
    return value


def _with_default_ids(fields: dict[str, Any], vocab_size: int) -> dict[str, Any]:
    """Return the fields with GPT2Config's default ids, which are GPT-2's own, of its vocabulary only."""
    return {"eos_token_id": GPT2_EOS, "bos_token_id": GPT2_EOS, **fields} if vocab_size == GPT2_EOS + 1 else fields


def token_ids(path: Path, fields: dict[str, Any], name: str, vocab_size: int) -> tuple[int, ...]:
    """Return a field that is a token id or a list of them; none if it is absent or null."""
    value = fields.get(name)
    ids: list[Any] = value if isinstance(value, list) and value else [] if value is None else [value]
    for i in ids:
        if type(i) is not int or not (0 <= i < vocab_size or i == GPT2_EOS):
            raise Problem(f'{path}: "{name}": expected token ids below {vocab_size} or null, got {value!r}')
    return tuple(i for i in ids if i < vocab_size)  # transformers writes GPT-2's id whatever the vocabulary
