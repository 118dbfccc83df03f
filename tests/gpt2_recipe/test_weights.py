"""Every name, shape and dtype of the weights is matched, or one Problem lists the mismatches."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from gpt2_recipe import Problem, convert, read_config
from gpt2_recipe.weights import expected_shapes
from support import HANGS_AFTER
from support.refusal import refused
from support.toy import Toy, load_weights, write_safetensors

TOY = Toy(n_layer=2, n_embd=6, n_head=2, n_positions=5, vocab_size=11)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a toy's weights after a change of the tensors in its file."""

    def load_changed(toy=TOY, change=lambda tensors: None, **config):
        folder = toy.write(tmp_path)
        tensors = toy.tensors
        change(tensors)
        write_safetensors(folder / "model.safetensors", tensors)
        (folder / "config.json").write_text(json.dumps(toy.config | config))
        return load_weights(folder)

    return load_changed


refusal = partial(refused, Problem, about="model.safetensors: ")


@pytest.mark.parametrize(
    "toy",
    [
        TOY,
        replace(TOY, n_inner=7),
        replace(TOY, prefix="transformer."),
        replace(TOY, masks=True),
        replace(TOY, masks=True, prefix="transformer.", dtype="BF16"),
        replace(TOY, tied=False, dtype="F16"),
        replace(TOY, tied=False, prefix="transformer."),
    ],
    ids=str,
)
def test_published_names_come_back_with_their_values(load, toy):
    loaded = load(toy)
    assert loaded.keys() == toy.state.keys()
    for name, expected in toy.state.items():
        np.testing.assert_array_equal(loaded[name].as_f32(), expected, strict=True)


def test_a_head_without_the_prefix_beside_prefixed_weights_is_what_transformers_saves(load):
    toy = replace(TOY, tied=False, prefix="transformer.")

    def bare_head(tensors):
        tensors["lm_head.weight"] = tensors.pop("transformer.lm_head.weight")

    assert load(toy, bare_head).keys() == toy.state.keys()


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "base_model.model."])
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_what_a_trainers_wrapper_put_before_every_name_is_dropped(load, wrapper, prefix):
    toy = replace(TOY, tied=False, masks=True)

    def wrap(tensors):
        for name in [*tensors]:
            outer = wrapper if name == "lm_head.weight" else wrapper + prefix
            tensors[outer + name] = tensors.pop(name)

    assert load(toy, wrap).keys() == toy.state.keys()


@pytest.mark.parametrize(
    ("names", "head"),
    [
        (("multiple_choice_head.summary.weight", "multiple_choice_head.summary.bias"), "of GPT2DoubleHeadsModel"),
        (("v_head.summary.weight", "v_head.summary.bias"), "of trl"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_the_head_beside_a_language_models_is_left_out_with_a_line(tmp_path, names, head, wrapper):
    toy = replace(TOY, prefix=f"{wrapper}transformer.")
    folder = toy.write(tmp_path)
    added = {wrapper + name: ("F32", np.zeros((1, 6), np.float32)) for name in names}
    path = write_safetensors(folder / "model.safetensors", toy.tensors | added)
    assert load_weights(folder).keys() == toy.state.keys()
    (line,) = (note for note in convert(folder).notes if note.startswith(str(path)))
    assert f"head {head} ({names[0].partition('.')[0]}.*) is left out" in line


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("score.weight", "GPT2ForSequenceClassification"),
        ("classifier.weight", "GPT2ForTokenClassification"),
        ("qa_outputs.weight", "GPT2ForQuestionAnswering"),
    ],
)
def test_a_classifier_is_named(load, name, model):
    def add(tensors):
        tensors[name] = ("F32", np.zeros((2, 6), np.float32))

    refusal(load, TOY, add, about=f"expected a language model, got {model}: its {name} gives classes, not tokens")


def test_two_models_in_one_file_are_refused(load):
    def double(tensors):
        for name in [*tensors]:
            tensors[f"ema.{name}"] = tensors[name]

    assert "extra: ema.h.0.attn.c_attn.bias" in refusal(load, TOY, double)


def test_expected_shapes_add_up_to_the_published_number_of_parameters(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    shapes = expected_shapes(read_config(tmp_path / "config.json"))
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 124_439_808
    assert len(shapes) == 160 - 12  # the published file holds twelve mask buffers


def test_a_head_equal_to_the_embedding_is_tied(load):
    def add_equal_head(tensors):
        tensors["lm_head.weight"] = tensors["wte.weight"]

    assert "lm_head.weight" not in load(TOY, add_equal_head)
    assert "lm_head.weight" not in load(TOY, add_equal_head, tie_word_embeddings=False)


def test_a_head_equal_to_the_embedding_in_another_dtype_is_tied(load):
    toy = replace(TOY, dtype="F16")

    def add_equal_head(tensors):
        tensors["lm_head.weight"] = ("F32", tensors["wte.weight"][1].astype(np.float32))

    assert "lm_head.weight" not in load(toy, add_equal_head)


def test_a_head_that_differs_is_used_whatever_config_json_says(load):
    toy = replace(TOY, tied=False)
    assert "lm_head.weight" in load(toy, tie_word_embeddings=True)
    assert "lm_head.weight" in load(toy, tie_word_embeddings=False)


def test_an_untied_head_that_is_missing_is_refused(load):
    assert "missing: lm_head.weight" in refusal(load, TOY, tie_word_embeddings=False)


@pytest.mark.parametrize("name", [*TOY.state])
def test_each_missing_weight_is_named(load, name):
    assert refusal(load, TOY, lambda tensors: tensors.pop(name)).endswith(f"missing: {name}")


@pytest.mark.parametrize("name", [*TOY.state])
def test_each_misshapen_weight_is_named_with_both_shapes(load, name):
    shape = list(TOY.state[name].shape)
    wrong = [*shape[:-1], shape[-1] + 1]

    def stretch(tensors):
        tensors[name] = ("F32", np.zeros(wrong, np.float32))

    assert refusal(load, TOY, stretch).endswith(f"misshapen: {name} (expected {shape}, got {wrong})")


def test_a_transposed_weight_is_misshapen(load):
    def transpose(tensors):
        tensors["h.1.mlp.c_fc.weight"] = ("F32", np.zeros((24, 6), np.float32))

    assert "h.1.mlp.c_fc.weight (expected [6, 24], got [24, 6])" in refusal(load, TOY, transpose)


def test_missing_extra_misshapen_and_mistyped_are_listed_together(load):
    def spoil(tensors):
        del tensors["ln_f.bias"], tensors["h.0.ln_1.weight"]
        tensors["h.2.ln_1.weight"] = tensors["classifier"] = ("F32", np.zeros(6, np.float32))
        tensors["wpe.weight"] = ("F32", np.zeros((4, 6), np.float32))
        tensors["wte.weight"] = ("I64", np.zeros((11, 6), np.int64))

    assert refusal(load, TOY, spoil).endswith(
        "; missing: h.0.ln_1.weight, ln_f.bias; extra: classifier, h.2.ln_1.weight; "
        "misshapen: wpe.weight (expected [5, 6], got [4, 6]); neither F32, F16, BF16: wte.weight (I64)"
    )


def test_a_long_list_is_cut_and_counted(load):
    def keep_one(tensors):
        for name in [*tensors][1:]:
            del tensors[name]

    assert refusal(load, TOY, keep_one).endswith(" and 21 more")


@pytest.mark.parametrize("dtype", ["F64", "I64", "I32", "I16", "I8", "U8", "BOOL"])
def test_a_weight_of_another_dtype_is_named(load, dtype):
    width = {"F64": 8, "I64": 8, "I32": 4, "I16": 2}.get(dtype, 1)

    def retype(tensors):
        tensors["ln_f.bias"] = (dtype, np.zeros((6, width), np.uint8).view(f"V{width}").reshape(6))

    assert refusal(load, TOY, retype).endswith(f"neither F32, F16, BF16: ln_f.bias ({dtype})")


@pytest.mark.parametrize("name", ["h.0.attn.c_attn.bias", "h.1.attn.c_proj.bias"])
def test_the_attentions_own_biases_are_not_taken_for_mask_buffers(load, name):
    assert f"missing: {name}" in refusal(load, replace(TOY, masks=True), lambda tensors: tensors.pop(name))


@pytest.mark.parametrize(
    "name", ["h.0.attn.bias.x", "xh.0.attn.bias", "h.x.attn.bias", "attn.bias", "transformer.attn.bias"]
)
def test_what_only_looks_like_a_mask_buffer_is_extra(load, name):
    def add(tensors):
        tensors[name] = ("F32", np.zeros(1, np.float32))

    assert "extra: " in refusal(load, TOY, add)


@pytest.mark.parametrize(
    "changed", [{"n_layer": 3}, {"n_embd": 8}, {"n_positions": 6}, {"vocab_size": 12}, {"n_inner": 5}]
)
def test_a_config_that_disagrees_with_the_weights_is_refused(load, changed):
    refusal(load, TOY, **changed)


def test_a_weight_both_with_and_without_the_prefix_is_refused(load):
    def double(tensors):
        tensors["transformer.ln_f.bias"] = ("F32", np.zeros(6, np.float32))

    assert "ln_f.bias" in refusal(load, TOY, double)


def test_a_line_break_in_a_name_does_not_break_the_line(load):
    def add(tensors):
        tensors["two\nlines"] = ("F32", np.zeros(1, np.float32))

    assert "extra" in refusal(load, TOY, add)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process by /proc")
def test_a_billion_layers_are_refused_in_little_memory(tmp_path):
    folder = TOY.write(tmp_path)
    (folder / "config.json").write_text(json.dumps(TOY.config | {"n_layer": 10**9}))
    code = (
        "import resource, sys; from pathlib import Path; import gpt2_recipe\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "try: gpt2_recipe.convert(Path(sys.argv[1]))\n"
        "except gpt2_recipe.Problem: sys.exit(17)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=environment,
        capture_output=True,
        timeout=HANGS_AFTER,
        check=False,
    )
    assert done.returncode == 17, done.stderr.decode()[-300:]
