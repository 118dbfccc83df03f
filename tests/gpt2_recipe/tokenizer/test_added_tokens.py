"""Added tokens of every version of transformers are found, with their flags."""

import json

import pytest

from gpt2_recipe import Problem
from gpt2_recipe.tokenizer.added_tokens import AddedToken, added_tokens, as_fact, from_fact

IDS = {"a": 0, "b": 1, "<|endoftext|>": 2, "<pad>": 3}
END = AddedToken("<|endoftext|>", 2, special=True)


def found(folder, **files: object) -> tuple[list[AddedToken], list[str]]:
    """Return the added tokens of these files, named without their suffix."""
    for name, fields in files.items():
        (folder / f"{name}.json").write_text(json.dumps(fields))
    return added_tokens(folder, IDS)


def test_no_files_no_tokens(tmp_path):
    assert found(tmp_path) == ([], [])


def test_tokenizer_json(tmp_path):
    flags = {"single_word": False, "lstrip": False, "rstrip": True, "normalized": False}
    tokens = [{"id": 5, "content": "<m>", "special": True, **flags}, {"id": 4, "content": "x y", "special": False}]
    expected = [AddedToken("x y", 4, normalized=True), AddedToken("<m>", 5, special=True, rstrip=True)]
    assert found(tmp_path, tokenizer={"added_tokens": tokens}) == (expected, [])


def test_tokenizer_config_of_transformers_4(tmp_path):
    decoder = {"2": {"content": "<|endoftext|>", "special": True}, "4": {"content": "<m>", "lstrip": True}}
    expected = [END, AddedToken("<m>", 4, lstrip=True, normalized=True)]
    assert found(tmp_path, tokenizer_config={"added_tokens_decoder": decoder}) == (expected, [])


def test_added_tokens_json_with_the_names_of_the_special_ones(tmp_path):
    names = {"pad_token": {"content": "<p>"}, "additional_special_tokens": ["<q>"]}
    tokens, notes = found(tmp_path, added_tokens={"<p>": 4, "<q>": 5, "r": 6}, special_tokens_map=names)
    assert tokens == [
        AddedToken("<p>", 4, special=True),
        AddedToken("<q>", 5, special=True),
        AddedToken("r", 6, normalized=True),
    ]
    assert notes == []


def test_a_special_token_of_the_vocabulary_needs_no_list(tmp_path):
    names = {"eos_token": "<|endoftext|>", "pad_token": "<pad>", "unk_token": "<unk>", "add_bos_token": False}
    assert found(tmp_path, tokenizer_config=names) == ([END, AddedToken("<pad>", 3, special=True)], [])


def test_the_vocabulary_decides_about_its_own_tokens(tmp_path):
    assert found(tmp_path, added_tokens={"<pad>": 9}) == ([AddedToken("<pad>", 3, normalized=True)], [])


def test_named_tokens_without_an_id_get_the_next_rows_in_the_order_of_transformers(tmp_path):
    names = {"pad_token": "<p>", "additional_special_tokens": ["<q>"], "bos_token": {"content": "<s>", "lstrip": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    begin = AddedToken("<s>", 4, special=True, lstrip=True)
    assert added_tokens(tmp_path, IDS, 6)[0] == [begin, AddedToken("<p>", 5, special=True)]
    assert added_tokens(tmp_path, IDS, 7)[0][2:] == [AddedToken("<q>", 6, special=True)]


def test_an_id_that_is_taken_is_a_note(tmp_path):
    tokens, notes = found(tmp_path, added_tokens={"<p>": 1, "<q>": 4, "<r>": 4})
    assert tokens == [AddedToken("<q>", 4, normalized=True)]
    assert notes == [
        f"{tmp_path}: its added token '<p>' has the id 1 of 'b': left out",
        f"{tmp_path}: its added token '<r>' has the id 4 of '<q>': left out",
    ]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("added_tokens", {"<p>": None}),
        ("added_tokens", {"<p>": -1}),
        ("added_tokens", {"\ud800": 4}),
        ("tokenizer", {"added_tokens": [{"content": "<p>"}]}),
        ("tokenizer_config", {"added_tokens_decoder": {"x": {"content": "<p>"}}}),
    ],
)
def test_a_token_without_an_id_is_refused(tmp_path, name, fields):
    with pytest.raises(Problem, match=r"^[^\n]*: expected an added token and its id, got the id [^\n]*\Z") as caught:
        found(tmp_path, **{name: fields})
    assert str(caught.value).startswith(f"{tmp_path / name}.json: ")


def test_a_fact_and_back():
    tokens = [END, AddedToken('\u65e5 <"&', 4, rstrip=True)]
    fact = as_fact(tokens)
    assert fact is not None
    assert fact.isascii()
    assert from_fact(fact) == tokens


def test_the_end_of_a_text_alone_is_no_news():
    assert as_fact([]) is None
    assert as_fact([END]) is None
    assert as_fact([AddedToken("<|endoftext|>", 2, special=True, lstrip=True)]) is not None
