"""special_tokens: which file names the tokens that begin and end a text; tests/parity judges with transformers."""

import json

import pytest

from gpt2_recipe import Problem, convert
from support.toy import Toy

TOY = Toy(n_positions=16)
SECTION = "omz_gpt2"


def facts(tmp_path, files: dict[str, dict], **config) -> dict:
    """Return the facts of a toy whose config.json has, or with None lacks, these fields, beside other files."""
    TOY.write(tmp_path)
    path = tmp_path / "config.json"
    fields = {**json.loads(path.read_text()), **config}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    return convert(tmp_path).facts[SECTION]


@pytest.mark.parametrize(
    ("files", "config", "eos", "bos"),
    [
        ({}, {"eos_token_id": 5}, "5", None),
        ({}, {"eos_token_id": [5, 7], "bos_token_id": 3}, "5 7", 3),
        ({"generation_config.json": {"eos_token_id": [8, 9]}}, {"eos_token_id": 5}, "8 9", None),
        ({"generation_config.json": {"eos_token_id": 8, "bos_token_id": 2}}, {"bos_token_id": 3}, "8", 2),
        ({"generation_config.json": {"eos_token_id": None}}, {"eos_token_id": 5}, "5", None),
        ({"generation_config.json": {}}, {"eos_token_id": 50256}, None, None),  # GPT-2's, past this vocabulary
        ({"tokenizer_config.json": {"eos_token": "<|endoftext|>"}}, {"eos_token_id": None}, "299", None),
        ({"tokenizer_config.json": {"eos_token": {"content": "a"}}}, {"eos_token_id": 5}, "5", None),
        ({"tokenizer_config.json": {"eos_token": "no token"}}, {"eos_token_id": None}, None, None),
    ],
)
def test_the_first_file_that_names_a_token_counts(tmp_path, files, config, eos, bos):
    found = facts(tmp_path, files, **config)
    assert (found.get("eos_token_ids"), found.get("bos_token_id")) == (eos, bos)


@pytest.mark.parametrize("value", [300, -1, "5", [5, 300], True, [None]])
def test_an_id_that_the_model_has_not_is_a_problem(tmp_path, value):
    with pytest.raises(Problem) as caught:
        facts(tmp_path, {"generation_config.json": {"eos_token_id": value}})
    path = tmp_path / "generation_config.json"
    assert str(caught.value) == f'{path}: "eos_token_id": expected token ids below 300 or null, got {value!r}'


def test_the_generation_config_lies_beside_the_ir(tmp_path):
    TOY.write(tmp_path)
    assert "generation_config.json" not in [path.name for path in convert(tmp_path).companions]
    (tmp_path / "generation_config.json").write_text("{}")
    assert tmp_path / "generation_config.json" in convert(tmp_path).companions
