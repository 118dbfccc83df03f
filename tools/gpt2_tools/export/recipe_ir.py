"""An IR of the gpt2 recipe, read back: the model, its configuration, its weights and its tokenizer's files.

IRs of other converters are refused, with the converter's name.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_recipe import ACTIVATIONS, FACTS, GPT2Config, expected_shapes
from gpt2_recipe.tokenizer import END_OF_TEXT, AddedToken, TokenizerSettings, from_fact, make_tokenizer_json
from gpt2_text_prediction.engine import IR, as_ir, read_model
from gpt2_text_prediction.text import GPT2Tokenizer, find_tokenizer_files, load_tokenizer
from gpt2_tools.common.problem import Problem
from omz_model_tools.convert import provenance, recipe_section

RECIPE = "gpt2"
ACTIVATION_OPS = ("Gelu", "Swish", "Relu", "Tanh", "Mish")
"""The types of the first op of the recipe's activation functions."""


TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class RecipeIR:
    """An IR with its tokenizer; config has the end-of-text token even if only the vocabulary defines it.

    tokenizer_json: the file beside it, or one made of vocab.json and merges.txt, for an older IR. companions: which of
    these two lie beside it.
    """

    path: Path
    model: ov.Model
    config: GPT2Config
    quantized: bool
    tokenizer: GPT2Tokenizer
    tokenizer_json: bytes
    companions: tuple[Path, ...]


def read_recipe_ir(path: Path) -> RecipeIR:
    """Read an IR of the gpt2 recipe with the tokenizer beside it.

    Raises Problem, ours or the demo's, for files that cannot be read and IRs of another converter.
    """
    model = read_model(ov.Core(), path)
    _refuse_foreign(path, model)
    ir = as_ir(path, model)
    tokenizer, own = load_tokenizer(path), path.with_name(TOKENIZER)
    if not tokenizer.fits(ir.vocab_size):
        file = own if own.is_file() else path.with_name("vocab.json")
        raise Problem(_misfit(path, ir.vocab_size, file, tokenizer.vocab_size))
    end_of_text = () if tokenizer.end_of_text_id is None else (tokenizer.end_of_text_id,)
    config = _config(ir, ir.eos_token_ids or end_of_text)
    content = own.read_bytes() if own.is_file() else _tokenizer_json(path, ir.model)
    beside = tuple(file for file in map(path.with_name, ("vocab.json", "merges.txt")) if file.is_file())
    return RecipeIR(path, ir.model, config, "nncf" in ir.model.get_rt_info(), tokenizer, content, beside)


def _tokenizer_json(path: Path, model: ov.Model) -> bytes:
    """Return the tokenizer.json of an IR that an older converter made."""
    vocab, merges = find_tokenizer_files(path)
    lines = merges.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#version")]
    added = sorted(_added_tokens(path, model, vocab), key=lambda token: token.id)
    fields = make_tokenizer_json(json.loads(vocab.read_bytes()), pairs, added, TokenizerSettings(is_gpt2=True))
    return json.dumps(fields, ensure_ascii=False).encode()


def _misfit(path: Path, rows: int, vocab: Path, tokens: int) -> str:
    if tokens < rows:
        return f"{path}: has {rows} tokens, but {vocab} {tokens}; convert it again"
    return (
        f"{path}: its embedding has {rows} rows, too few for the {tokens} tokens of {vocab}; put the vocab.json and "
        "merges.txt that it was trained with beside it, or resize the checkpoint's embedding and convert that"
    )


def _added_tokens(path: Path, model: ov.Model, vocab: Path) -> tuple[AddedToken, ...]:
    """Return the recipe's added tokens and <|endoftext|>, those that the vocabulary beside the IR has."""
    ids = json.loads(vocab.read_bytes())
    known = [AddedToken(END_OF_TEXT, ids[END_OF_TEXT], special=True)] if END_OF_TEXT in ids else []
    if model.has_rt_info([FACTS, "added_tokens"]):
        try:
            known = [*from_fact(model.get_rt_info([FACTS, "added_tokens"]).astype(str)), *known]
        except (ValueError, TypeError):
            raise Problem(f"{path}: its rt_info lists added tokens in an unknown format; convert it again") from None
    found = {token.content: token for token in reversed(known)}
    return tuple(token for token in found.values() if ids.get(token.content) == token.id)


def _refuse_foreign(path: Path, model: ov.Model) -> None:
    """Raise Problem for the model of another converter, whatever its interface, and for an export."""
    if recipe_section(model, RECIPE) is None:
        found = "an ONNX file" if path.suffix == ".onnx" else f"one of {provenance(model)}"
        raise Problem(
            f"{path}: expected an IR of the recipe {RECIPE}, got {found}; "
            "convert the checkpoint with omz_converter --route direct"
        )
    if model.get_variables():
        raise Problem(f"{path}: is an export already; give the IR it was exported from")


def weight_bytes(ir: RecipeIR) -> int:
    """Return the bytes of the weights in f32."""
    return 4 * sum(math.prod(shape) for shape in _weight_shapes(ir.config).values())


def weights(ir: RecipeIR) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield the published name and the f32 values of each weight of an IR that is not quantized."""
    stored = {op.get_friendly_name().removesuffix("_compressed"): op for op in _ops(ir.model, "Constant")}
    for name in _weight_shapes(ir.config):
        yield name, stored[name].data.astype(np.float32, copy=False)


def _weight_shapes(config: GPT2Config) -> dict[str, tuple[int, ...]]:
    shapes = expected_shapes(config)
    return shapes if config.tie_word_embeddings else shapes | {"lm_head.weight": shapes["wte.weight"]}


def _config(ir: IR, eos_token_ids: tuple[int, ...]) -> GPT2Config:
    """Return the configuration from which the recipe built the graph."""
    model = ir.model
    assert ir.n_positions is not None  # a fact of the recipe
    attentions = _ops(model, "ScaledDotProductAttention")
    heads = attentions[0].get_input_partial_shape(0)
    normalisation, activation = _ops(model, "MVN")[0], _ops(model, *ACTIVATION_OPS)[0]
    names = {op.get_friendly_name() for op in model.get_ops()}
    return GPT2Config(
        vocab_size=ir.vocab_size,
        n_positions=ir.n_positions,
        n_embd=normalisation.get_output_partial_shape(0)[2].get_length(),
        n_layer=len(attentions),
        n_head=heads[1].get_length(),
        n_inner=activation.get_output_partial_shape(0)[2].get_length(),
        layer_norm_epsilon=float(
            str(np.float32(normalisation.get_attributes()["eps"]))
        ),  # 1e-05, not the f32's 9.99e-06
        activation_function=_activation_function(model, activation),
        tie_word_embeddings=not any(name.startswith("lm_head.weight") for name in names),
        eos_token_ids=eos_token_ids,
        bos_token_ids=eos_token_ids[:1] if ir.bos_token_id is None else (ir.bos_token_id,),
    )


def _activation_function(model: ov.Model, op: Any) -> str:
    if model.has_rt_info([FACTS, "activation_function"]):
        return str(model.get_rt_info([FACTS, "activation_function"]).astype(str))
    mode = op.get_attributes()["approximation_mode"].upper()
    return next(name for name, approximation in ACTIVATIONS.items() if approximation == mode)


def _ops(model: ov.Model, *kinds: str) -> list[Any]:
    return [op for op in model.get_ordered_ops() if op.get_type_name() in kinds]
