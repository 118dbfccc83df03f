"""Whatever tokenizer files a checkpoint has, the demo's tokenizer reads the result."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE, WordLevel

from gpt2_recipe import Problem
from gpt2_recipe.tokenizer.files import TokenizerFiles, tokenizer_files
from gpt2_text_prediction import Problem as DemoProblem
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support.toy import Toy

TOY = Toy()
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
TEXT = "the rest of it, 日本 <|endoftext|>"


def write_tokenizer_json(folder: Path, added: tuple[str, ...] = (), **changed) -> Path:
    """Write the toy's tokenizer as transformers 5 does, by the tokenizers library; return the folder."""
    folder.mkdir(exist_ok=True)
    TOY.write_vocabulary(folder)
    tokenizer = Tokenizer(BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>", *added])
    fields = json.loads(tokenizer.to_str())
    fields |= {name: value for name, value in changed.items() if name != "model"}
    fields["model"] |= changed.get("model", {})
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    (folder / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


def lay(files: TokenizerFiles, folder: Path) -> GPT2Tokenizer:
    """Write the companions as the converter does, and read them as the demo does."""
    folder.mkdir()
    for companion in files.companions:
        content = companion.read_bytes() if isinstance(companion, Path) else companion.content
        (folder / companion.name).write_bytes(content)
    return GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt")


@pytest.fixture
def expected(tmp_path) -> GPT2Tokenizer:
    """Return the demo's tokenizer of the toy's own files."""
    (tmp_path / "own").mkdir()
    TOY.write_vocabulary(tmp_path / "own")
    return GPT2Tokenizer(tmp_path / "own/vocab.json", tmp_path / "own/merges.txt")


def test_files_that_fit_are_copied_as_they_are_with_the_tokenizer_json_made_of_them(tmp_path):
    TOY.write_vocabulary(tmp_path)
    files = tokenizer_files(tmp_path, 300)
    assert (files.companions[1:], files.notes) == ([tmp_path / "vocab.json", tmp_path / "merges.txt"], [])
    assert files == tokenizer_files(tmp_path, 300)  # byte for byte
    fields = json.loads(files.companions[0].content)
    assert [token["content"] for token in fields["added_tokens"]] == ["<|endoftext|>"]
    assert fields["model"]["vocab"] == json.loads((tmp_path / "vocab.json").read_bytes())


def test_a_tokenizer_json_that_needs_no_change_is_copied_as_it_is(tmp_path):
    folder = write_tokenizer_json(tmp_path / "x", decoder=BYTE_LEVEL)
    assert tokenizer_files(folder, 300).companions[0] == folder / "tokenizer.json"


def test_tokenizer_json_alone_as_the_installed_tokenizers_write_it(tmp_path, expected):
    files = tokenizer_files(write_tokenizer_json(tmp_path / "x"), 300)
    assert files.notes == []
    assert lay(files, tmp_path / "ir").encode(TEXT) == expected.encode(TEXT)


def test_merges_as_older_versions_wrote_them(tmp_path, expected):
    merges = _model(write_tokenizer_json(tmp_path / "a"))["merges"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    files = tokenizer_files(write_tokenizer_json(tmp_path / "x", model={"merges": merges}), 300)
    assert lay(files, tmp_path / "ir").encode(TEXT) == expected.encode(TEXT)


def test_tokens_that_fine_tuning_added(tmp_path, expected):
    files = tokenizer_files(write_tokenizer_json(tmp_path / "x", added=("<|startoftext|>", "two words")), 302)
    tokenizer = lay(files, tmp_path / "ir")
    assert (tokenizer.vocab_size, tokenizer.decode([300, 301])) == (302, "<|startoftext|>two words")
    assert tokenizer.encode(TEXT) == expected.encode(TEXT)
    assert files.notes == []


def test_added_tokens_json_of_older_versions(tmp_path):
    TOY.write_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<|pad|>": 300}')
    tokenizer = lay(tokenizer_files(tmp_path, 301), tmp_path / "ir")
    assert (tokenizer.vocab_size, tokenizer.decode([300])) == (301, "<|pad|>")


def test_a_name_of_an_unused_row_that_is_taken(tmp_path):
    TOY.write_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<|unused_300|>": 301}')
    tokenizer = lay(tokenizer_files(tmp_path, 302), tmp_path / "ir")
    assert tokenizer.decode([300, 301]) == "<|unused_300|>_<|unused_300|>"


def test_any_number_of_tokens_without_a_merge(tmp_path):
    TOY.write_vocabulary(tmp_path)
    files = tokenizer_files(tmp_path, 5000)
    assert files.notes == []
    assert lay(files, tmp_path / "ir").vocab_size == 5000
    assert len(json.loads(files.companions[0].content)["model"]["vocab"]) == 300


BAD_MERGES = [
    (b"\x89\xe1", "{merges}: expected UTF-8, got the byte 0x89; fetch it again"),
    (b"", "{merges}: does not fit the vocabulary: does not make 43 of its tokens; fetch both again"),
    (b"#version: 0.2\ne t\nq q\n", "{merges}: line 3: does not fit the vocabulary: 'q q'; fetch both again"),
    (b"et\n", "{merges}: line 1: does not fit the vocabulary: 'et '; fetch both again"),
]


@pytest.mark.parametrize(("content", "wanted"), BAD_MERGES)
def test_merges_that_the_demo_would_refuse(tmp_path, content, wanted):
    TOY.write_vocabulary(tmp_path)
    merges = tmp_path / "merges.txt"
    merges.write_bytes(content)
    with pytest.raises(Problem) as caught:
        tokenizer_files(tmp_path, 300)
    assert str(caught.value) == wanted.format(merges=merges)
    with pytest.raises(DemoProblem):
        GPT2Tokenizer(tmp_path / "vocab.json", merges)


def test_an_id_twice_is_refused(tmp_path):
    TOY.write_vocabulary(tmp_path)
    vocab = tmp_path / "vocab.json"
    ids = json.loads(vocab.read_bytes())
    vocab.write_text(json.dumps({**ids, "b": ids["a"]}))
    with pytest.raises(Problem) as caught:
        tokenizer_files(tmp_path, 301)
    assert str(caught.value) == f"{vocab}: expected each id once, got {ids['a']} for 'a' and for 'b'; fetch it again"


def test_a_vocabulary_that_is_not_of_bytes_is_a_note(tmp_path):
    TOY.write_vocabulary(tmp_path)
    vocab = tmp_path / "vocab.json"
    ids = json.loads(vocab.read_bytes())
    vocab.write_text(json.dumps({token: i for token, i in ids.items() if token not in ("!", "\u0100")}))
    assert tokenizer_files(tmp_path, 300) == TokenizerFiles(
        [],
        [
            f"{vocab}: expected a byte-level vocabulary with a token for each of the 256 bytes, got one without 2 of "
            "them; the IR has no tokenizer beside it, so the demo cannot run on it"
        ],
    )


def test_rows_of_a_padded_embedding_get_names(tmp_path):
    TOY.write_vocabulary(tmp_path)
    files = tokenizer_files(tmp_path, 303)
    assert lay(files, tmp_path / "ir").decode([300, 302]) == "<|unused_300|><|unused_302|>"
    assert files.notes == []


def test_a_vocabulary_past_the_embedding_is_a_note(tmp_path):
    TOY.write_vocabulary(tmp_path)
    files = tokenizer_files(tmp_path, 299)
    assert [path.name for path in files.companions] == ["tokenizer.json", "vocab.json", "merges.txt"]
    assert files.notes == [
        f"{tmp_path / 'vocab.json'}: 1 of its 300 tokens has no row in the embedding of 299 rows, so the demo refuses "
        "it; put the tokenizer that the checkpoint was trained with into the folder"
    ]


def test_an_added_token_past_the_embedding_is_a_note(tmp_path):
    TOY.write_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<|pad|>": 300}')
    files = tokenizer_files(tmp_path, 300)
    assert files.companions[1:] == [tmp_path / "vocab.json", tmp_path / "merges.txt"]
    assert files.notes == [
        f"{tmp_path}: its added token '<|pad|>' has the id 300, and the embedding 300 rows; the demo refuses a prompt "
        "with it"
    ]


@pytest.mark.parametrize("name", ["vocab.txt", "spiece.model"])
def test_a_file_of_another_kind_says_how_to_make_a_tokenizer_json(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    files = tokenizer_files(tmp_path, 300)
    assert files.companions == []
    assert files.notes == [
        f"{tmp_path / name}: the IR has no tokenizer beside it; make a tokenizer.json of it and convert again: "
        f"python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('{tmp_path}')"
        f".save_pretrained('{tmp_path}')\""
    ]


def test_no_tokenizer_is_a_note(tmp_path):
    files = tokenizer_files(tmp_path, 300)
    assert files.companions == []
    assert files.notes == [
        f"{tmp_path}: holds neither vocab.json and merges.txt nor a tokenizer.json; "
        "the IR has no tokenizer beside it, so the demo needs --vocab and --merges"
    ]


@pytest.mark.parametrize(
    ("changed", "left_out"),
    [
        ({"model": {"byte_fallback": True}}, "byte_fallback"),
        ({"model": {"end_of_word_suffix": "</w>"}}, "end_of_word_suffix"),
        ({"model": {"ignore_merges": True}}, "ignore_merges"),
        ({"normalizer": {"type": "NFC"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "pre_tokenizer"),
        ({"pre_tokenizer": None, "normalizer": {"type": "NFC"}}, "normalizer, pre_tokenizer"),
        ({"pre_tokenizer": [1]}, "pre_tokenizer"),
    ],
)
def test_what_transformers_leaves_out_is_a_note(tmp_path, changed, left_out, expected):
    files = tokenizer_files(write_tokenizer_json(tmp_path / "x", **changed), 300)
    assert files.notes == [
        f"{tmp_path / 'x' / 'tokenizer.json'}: its {left_out} left out, as transformers does for a GPT2Tokenizer; to "
        'keep, write "tokenizer_class": "PreTrainedTokenizerFast" into tokenizer_config.json'
    ]
    assert lay(files, tmp_path / "ir").encode(TEXT) == expected.encode(TEXT)


def test_a_space_before_the_text_and_a_sequence_of_one_are_no_note(tmp_path):
    for before in (BYTE_LEVEL, {"type": "Sequence", "pretokenizers": [BYTE_LEVEL | {"add_prefix_space": False}]}):
        files = tokenizer_files(write_tokenizer_json(tmp_path / before["type"], pre_tokenizer=before), 300)
        assert (len(files.companions), files.notes) == (3, [])


def test_a_tokenizer_that_the_library_wrote_of_another_kind(tmp_path):
    path = tmp_path / "tokenizer.json"
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(path))
    assert tokenizer_files(tmp_path, 300) == TokenizerFiles([path], [])


@pytest.mark.parametrize("kind", ["Unigram", "WordPiece"])
def test_a_tokenizer_that_the_library_cannot_use_is_refused(tmp_path, kind):
    folder = write_tokenizer_json(tmp_path / "x", model={"type": kind})
    with pytest.raises(Problem) as caught:
        tokenizer_files(folder, 300)
    assert str(caught.value).startswith(f"{folder / 'tokenizer.json'}: the tokenizers library cannot use it: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vocab.json", "{"),
        ("vocab.json", '{"a": "b"}'),
        ("vocab.json", '{"a": -1}'),
        ("added_tokens.json", '{"a": null}'),
        ("tokenizer.json", "[]"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, name, text):
    TOY.write_vocabulary(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(Problem) as caught:
        tokenizer_files(tmp_path, 300)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    "model",
    [
        {"vocab": None},
        {"vocab": []},
        {"vocab": {"a": 0.5}},
        {"merges": None},
        {"merges": ["ab"]},
        {"merges": [["a"]]},
        {"merges": [["a", "b c"]]},
        {"merges": [["a", "b\n"]]},
        {"merges": [[1, 2]]},
    ],
)
def test_a_broken_model_is_refused(tmp_path, model):
    folder = write_tokenizer_json(tmp_path / "x", model=model)
    with pytest.raises(Problem) as caught:
        tokenizer_files(folder, 300)
    assert str(caught.value).startswith(f"{folder / 'tokenizer.json'}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 400) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "vocab", "a", "id"]), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    key=st.sampled_from(["model", "added_tokens", "normalizer", "pre_tokenizer", "type", "vocab", "merges"]), value=JSON
)
def test_whatever_the_fields_they_are_taken_or_refused(tmp_path_factory, key, value):
    folder = tmp_path_factory.mktemp("fuzzed")
    path = write_tokenizer_json(folder) / "tokenizer.json"
    fields = json.loads(path.read_bytes())
    (fields if key in fields else fields["model"])[key] = value
    path.write_text(json.dumps(fields))
    try:
        files = tokenizer_files(folder, 300)
    except Problem as problem:
        assert "\n" not in str(problem)  # noqa: PT017
    else:
        assert len(files.companions) in (0, 1, 3)


def _model(folder: Path) -> dict:
    return json.loads((folder / "tokenizer.json").read_bytes())["model"]
