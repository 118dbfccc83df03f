"""What an adapter's folder must have; kinds that are not merged are named."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gpt2_recipe import Problem
from gpt2_recipe.readers.peft_adapter import read_adapter
from support.refusal import refused
from support.toy import write_safetensors

refusal = partial(refused, Problem, read_adapter, begins=lambda folder: folder / "adapter_config.json")


def write(folder: Path, **fields: object) -> Path:
    write_safetensors(folder / "adapter_model.safetensors", {"base_model.model.x": ("F32", np.ones(1, np.float32))})
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **fields}))
    return folder


def test_names_come_without_pefts_prefix_and_the_base_with_its_name(tmp_path):
    found = read_adapter(
        write(tmp_path, base_model_name_or_path="gpt2", modules_to_save=["transformer.wte", "lm_head"])
    )
    assert list(found.tensors) == ["x"]
    assert (found.base, found.saved_modules) == ("gpt2", ("wte", "lm_head"))


def test_the_scaling_has_pefts_defaults(tmp_path):
    found = read_adapter(write(tmp_path, init_lora_weights=None, alpha_pattern=None, lora_bias=False, loftq_config={}))
    assert found.scaling("transformer.h.0.mlp.c_fc", 16) == 0.5
    assert found.saved_modules == ()


@pytest.mark.parametrize("kind", ["IA3", "LOHA", "LOKR", "ADALORA", "OFT", "VERA", "XLORA", None, 5, ["LORA"]])
def test_another_kind_is_refused_by_name(tmp_path, kind):
    line = refusal(write(tmp_path, peft_type=kind))
    assert f'"peft_type": expected "LORA", got {json.dumps(kind)}; merge it with peft (merge_and_unload' in line


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "CPT"])
def test_what_adds_to_prompts_cannot_be_merged_by_peft_either(tmp_path, kind):
    assert refusal(write(tmp_path, peft_type=kind)).endswith(f'got "{kind}", which adds to prompts: it has no weights')


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "mica", 7])
def test_a_start_that_changes_the_base_is_refused(tmp_path, start):
    assert f'"init_lora_weights": {json.dumps(start)} changes the base too' in refusal(
        write(tmp_path, init_lora_weights=start)
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"use_qalora": True},
        {"layer_replication": [[0, 1], [0, 2]]},
        {"target_parameters": ["mlp.c_fc.weight"]},
        {"trainable_token_indices": [1]},
        {"alora_invocation_tokens": [1, 2]},
        {"arrow_config": {"top_k": 2}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_variant_is_refused(tmp_path, fields):
    assert f'"{next(iter(fields))}": plain LoRA and DoRA alone' in refusal(write(tmp_path, **fields))


@pytest.mark.parametrize(
    ("fields", "about"),
    [
        ({"lora_alpha": "8"}, "\"lora_alpha\": expected a number, got '8'"),
        ({"lora_alpha": True}, '"lora_alpha": expected a number, got True'),
        ({"lora_alpha": 10**400}, '"lora_alpha": expected a number, got 1000'),
        ({"lora_alpha": float("nan")}, '"lora_alpha": expected a number, got nan'),
        ({"alpha_pattern": {"(": 1}}, '"alpha_pattern": (: missing ), unterminated subpattern'),
        ({"alpha_pattern": {"c_fc": None}}, '"lora_alpha": expected a number, got None'),
    ],
)
def test_a_broken_scaling_is_refused(tmp_path, fields, about):
    found = read_adapter(write(tmp_path, **fields))
    with pytest.raises(Problem) as caught:
        found.scaling("h.0.mlp.c_fc", 4)
    assert str(caught.value).startswith(f"{tmp_path / 'adapter_config.json'}: {about}")


def test_a_folder_without_its_weights(tmp_path):
    (write(tmp_path) / "adapter_model.safetensors").unlink()
    with pytest.raises(Problem) as caught:
        read_adapter(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/adapter_model.safetensors: cannot be read: there is no such file, nor adapter_model.bin"
    )
