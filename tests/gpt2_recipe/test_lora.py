"""Adapters merged by hand: numbers that can be checked on paper, and what does not fit; peft itself in tests/parity."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import gpt2_recipe
from gpt2_recipe import Problem
from support import numpy_gpt2
from support.refusal import refused
from support.toy import Toy, assert_close, compiled, write_safetensors

TOY = Toy(n_layer=2, n_head=1, n_embd=2, n_inner=3, vocab_size=300)
PREFIX = "base_model.model."
C_FC = "transformer.h.1.mlp.c_fc"
A = np.array([[1, 2]])  # [r=1, in=2]
B = np.array([[1], [0], [-2]])  # [out=3, r=1]
B_A = np.array([[1, 0, -2], [2, 0, -4]])  # [in, out], as a Conv1D's weight


@pytest.fixture
def base(tmp_path) -> Path:
    return TOY.write(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path, base):
    """Return a function that writes an adapter of these tensors and fields, and returns its folder."""

    def write(tensors: dict[str, np.ndarray], **fields: object) -> Path:
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        named = {PREFIX + name: ("F32", np.asarray(values, np.float32)) for name, values in tensors.items()}
        write_safetensors(folder / "adapter_model.safetensors", named)
        config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": str(base), **fields}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder

    return write


def plain(module: str = C_FC, a: np.ndarray = A, b: np.ndarray = B) -> dict[str, np.ndarray]:
    return {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}


def merged(folder: Path, adapter: Path | None = None) -> dict[str, np.ndarray]:
    return {name: tensor.as_f32() for name, tensor in gpt2_recipe.open_checkpoint(folder, adapter).tensors.items()}


def changed(folder: Path) -> dict[str, np.ndarray]:
    """What a merge adds to each of the toy's weights that it changes."""
    new = merged(folder)
    assert new.keys() == TOY.state.keys()
    found = {name: new[name] - values for name, values in TOY.state.items()}
    return {name: difference for name, difference in found.items() if difference.any()}


def check_update(folder: Path, expected: np.ndarray, name: str = "h.1.mlp.c_fc.weight") -> None:
    ((found, difference),) = changed(folder).items()
    assert found == name
    np.testing.assert_allclose(difference, expected, atol=1e-6)


def test_a_conv1ds_update_is_transposed(adapter):
    check_update(adapter(plain()), B_A)


@pytest.mark.parametrize(
    ("fields", "scaling"),
    [
        ({"lora_alpha": 3}, 3 / 2),
        ({"lora_alpha": 3, "use_rslora": True}, 3 / 2**0.5),
        ({"alpha_pattern": {"c_fc": 5}}, 5 / 2),
        ({"alpha_pattern": {"fc": 5, "h.0.mlp.c_fc": 6, r"h\.\d+\.mlp.c_fc": 8, "c_fc": 9}}, 8 / 2),
        ({"rank_pattern": {"c_fc": 2}, "r": 64}, 1 / 2),
    ],
)
def test_the_scaling(adapter, fields, scaling):
    """The second rank adds nothing; it is there to be counted."""
    two = plain(a=np.vstack([A, [[7, 7]]]), b=np.hstack([B, np.zeros((3, 1))]))
    check_update(adapter(two, **fields), scaling * B_A)


def test_dora_gives_each_output_the_length_that_was_learned(adapter):
    folder = adapter({**plain(), f"{C_FC}.lora_magnitude_vector": [3, 0, 5]}, use_dora=True)
    weight = merged(folder)["h.1.mlp.c_fc.weight"]
    np.testing.assert_allclose(np.linalg.norm(weight, axis=0), [3, 0, 5], atol=1e-5)
    whole = TOY.state["h.1.mlp.c_fc.weight"] + B_A
    np.testing.assert_allclose(weight[:, 0] / 3, whole[:, 0] / np.linalg.norm(whole[:, 0]), atol=1e-5)


def test_a_head_is_not_transposed_and_a_tied_one_is_the_embedding(adapter):
    rows = np.zeros((300, 1))
    rows[7] = 1
    check_update(adapter(plain("lm_head", A, rows)), rows @ A, "wte.weight")


def test_an_embeddings_update(adapter):
    ones = np.zeros((1, 300))
    ones[0, 7] = 1
    name = "transformer.wte.lora_embedding_"
    check_update(adapter({f"{name}A": ones, f"{name}B": [[1], [2]]}), ones.T @ [[1, 2]], "wte.weight")


def test_biases_and_whole_weights_are_replaced(adapter):
    given = {
        "transformer.h.0.ln_1.bias": [5, 6],
        f"{C_FC}.base_layer.bias": [1, 2, 3],
        f"{C_FC}.lora_B.bias": [1, 1, 1],
    }
    found = merged(adapter({**plain(), **given}, lora_alpha=4))
    np.testing.assert_array_equal(found["h.0.ln_1.bias"], [5, 6])
    np.testing.assert_array_equal(found["h.1.mlp.c_fc.bias"], [5, 6, 7])


def test_only_the_end_of_a_tie_that_was_trained_is_replaced(adapter):
    table = np.ones((300, 2))
    for module, other in (("transformer.wte", "lm_head.weight"), ("lm_head", "wte.weight")):
        found = merged(adapter({f"{module}.weight": table}, modules_to_save=[module.removeprefix("transformer.")]))
        np.testing.assert_array_equal(found.pop(f"{module.removeprefix('transformer.')}.weight"), table)
        np.testing.assert_array_equal(found[other], TOY.state["wte.weight"])
    np.testing.assert_array_equal(merged(adapter({"lm_head.weight": table}))["wte.weight"], table)


def test_the_model_computes_what_the_oracle_computes_of_the_merged_weights(adapter):
    folder = adapter(plain(), lora_alpha=2)
    state = TOY.state | {"h.1.mlp.c_fc.weight": TOY.state["h.1.mlp.c_fc.weight"] + 2 * B_A}
    got = compiled(gpt2_recipe.convert(folder).model)([np.array([[3, 1, 4]])])[0][0]
    assert_close(got, numpy_gpt2.logits([3, 1, 4], state, TOY.n_head))


def test_the_attentions_scale_is_that_of_the_merged_weights(adapter, base):
    toy = replace(TOY, inverse_layer=True)
    toy.write(base)
    module = "transformer.h.1.attn.c_attn"
    folder = adapter(plain(module, A, np.ones((6, 1))))
    state = TOY.state | {"h.1.attn.c_attn.weight": TOY.state["h.1.attn.c_attn.weight"] + A.T}
    got = compiled(gpt2_recipe.convert(folder).model)([np.array([[3, 1, 4]])])[0][0]
    assert_close(got, numpy_gpt2.logits([3, 1, 4], state, 1, scale=toy.attention_scale))


def test_another_base_that_is_given_overrides_the_one_that_it_names(adapter, tmp_path):
    other = replace(TOY, seed=4)
    found = merged(other.write(tmp_path / "other"), adapter(plain()))["h.1.mlp.c_fc.weight"]
    np.testing.assert_allclose(found, other.state["h.1.mlp.c_fc.weight"] + B_A, atol=1e-6)


def test_an_adapter_beside_its_base_is_merged_with_a_line(adapter):
    folder = adapter(plain(), base_model_name_or_path="openai-community/gpt2")
    TOY.write(folder)
    check_update(folder, B_A)
    assert gpt2_recipe.convert(folder).notes == [
        f"{folder}: its adapter_config.json is that of an adapter, which is merged into the weights of {folder}"
    ]


def test_one_adapter_after_another(adapter, tmp_path, base):
    first = TOY.write(adapter(plain(), base_model_name_or_path="gpt2"))
    second = tmp_path / "second"
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("model.safetensors"))
    np.testing.assert_allclose(
        merged(first, second)["h.1.mlp.c_fc.weight"], TOY.state["h.1.mlp.c_fc.weight"] + 2 * B_A, atol=1e-6
    )
    check_update(first, B_A)
    np.testing.assert_array_equal(merged(first, first)["h.1.mlp.c_fc.weight"], merged(first)["h.1.mlp.c_fc.weight"])
    (second / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(first)})
    )
    refused(Problem, gpt2_recipe.convert, second, begins=lambda _: first, about="merge both: --checkpoint ")


def test_its_own_tokenizer_comes_before_the_bases(adapter, base):
    folder = adapter(plain())
    (base / "generation_config.json").write_text('{"eos_token_id": [3, 4]}')
    for own in (False, True):
        for name in ("vocab.json", "merges.txt") if own else ():
            (folder / name).write_bytes((base / name).read_bytes())
        conversion = gpt2_recipe.convert(folder)
        copied = [companion for companion in conversion.companions if isinstance(companion, Path)]
        assert folder / "vocab.json" in copied if own else base / "vocab.json" in copied
        assert base / "generation_config.json" in copied
        assert conversion.facts["omz_gpt2"]["eos_token_ids"] == "3 4"


@pytest.mark.parametrize("name", ["openai-community/gpt2", "gpt2", None, 5, ""])
def test_a_base_that_is_no_local_folder_is_asked_for(adapter, name):
    folder = adapter(plain(), base_model_name_or_path=name)
    line = refused(Problem, gpt2_recipe.convert, folder, begins=lambda folder: folder / "adapter_config.json")
    assert '"base_model_name_or_path": expected the folder of a checkpoint, got ' in line
    assert line.endswith(f"give that model's folder too: --checkpoint BASE --peft_adapter {folder}")


refusal = partial(refused, Problem, gpt2_recipe.convert, begins=lambda folder: folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        (plain("transformer.h.2.mlp.c_fc"), "expected a layer of the base model, which has none such"),
        (plain("transformer.h.1.ln_1"), "expected a linear layer or an embedding of GPT-2"),
        (plain("transformer.wte"), "expected a linear layer or an embedding of GPT-2"),
        (plain(a=np.ones((1, 3))), "expected an update of [3, 2], got [3, 1] times [1, 3]"),
        (plain(a=np.ones((2, 2))), "expected an update of [3, 2], got [3, 1] times [2, 2]"),
        (plain(a=np.ones((0, 2)), b=np.ones((3, 0))), "expected an update of [3, 2], got [3, 0] times [0, 2]"),
        (plain(a=np.ones(2)), "expected an update of [3, 2], got [3, 1] times [2]"),
        ({f"{C_FC}.lora_B.weight": B}, "expected its lora_A.weight, got none"),
        ({**plain(), f"{C_FC}.lora_magnitude_vector": [1, 2]}, "expected magnitudes of [3], got [2]"),
        ({**plain(), f"{C_FC}.lora_B.bias": [1, 2]}, "expected a bias of [3], got [2]"),
        ({f"{C_FC}.ia3_l": B}, "h.1.mlp.c_fc.ia3_l: expected a weight of the base model"),
        ({f"{C_FC}.weight": B}, "misshapen: h.1.mlp.c_fc.weight (expected [2, 3], got [3, 1])"),
    ],
)
def test_what_does_not_fit_is_named(adapter, base, tensors, about):
    folder = adapter(tensors)
    begins = base / "model.safetensors" if "misshapen" in about else folder / "adapter_model.safetensors"
    assert about in refused(Problem, gpt2_recipe.convert, folder, begins=lambda folder: begins)


def test_a_base_that_is_broken_is_refused_with_an_adapter_too(adapter, base):
    folder, path = adapter(plain()), base / "model.safetensors"
    for name, tensor, about in (
        ("lm_head.weight", None, "missing: lm_head.weight"),
        ("lm_head.weight", ("I64", np.zeros((300, 2), np.int64)), "neither F32, F16, BF16: lm_head.weight (I64)"),
        ("wte.weight", ("F32", np.zeros((), np.float32)), "misshapen: wte.weight (expected [300, 2], got [])"),
        ("wte.weight", ("F32", np.zeros((301, 2), np.float32)), "misshapen: wte.weight (expected [300, 2], got [301,"),
    ):
        (base / "config.json").write_text(json.dumps(TOY.config | {"tie_word_embeddings": name == "wte.weight"}))
        write_safetensors(path, TOY.tensors | ({} if tensor is None else {name: tensor}))
        refused(Problem, gpt2_recipe.convert, folder, begins=lambda _: path, about=about)


def test_values_that_are_no_floats_are_refused(adapter):
    folder = adapter({})
    tensors = {PREFIX + name: ("I64", values.astype(np.int64)) for name, values in plain().items()}
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    refusal(folder, about="lora_A.weight: expected F32, F16, BF16, got I64")
