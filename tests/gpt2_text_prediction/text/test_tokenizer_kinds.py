"""Each kind of tokenizer that checkpoints have: laid beside an IR and read there, it gives the right tokens and text.

The right tokens were recorded from transformers 5.23's AutoTokenizer; tests/parity/test_tokenizers.py asks it again.
"""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from gpt2_text_prediction import Problem
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer, IncrementalDetokenizer, load_tokenizer
from support import DATA
from support.tokenizer_kinds import END, KINDS, TEXTS, TOKENS, beside_ir

RECORDED = json.loads((DATA / "tokenizer_kinds.json").read_bytes())
OTHER_KINDS = ("WordPiece", "Unigram", "Unigram with bytes", "a normalizer", "hundreds of added tokens")


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory):
    """Return a function from a kind to the demo's tokenizer, read from the files that the recipe lays beside an IR."""
    return cache(lambda name: load_tokenizer(beside_ir(name, tmp_path_factory.mktemp("kind")), None, None, rows(name)))


def rows(name: str) -> int:
    return KINDS[name].rows


@pytest.mark.parametrize("name", KINDS)
def test_its_tokens_are_those_of_transformers(tokenizer_of, name):
    assert [tokenizer_of(name).encode(text, template=True) for text in TEXTS] == RECORDED[name]


@pytest.mark.parametrize("name", KINDS)
def test_what_it_has_no_token_for_is_never_drawn(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    unused = tokenizer.unused_ids(rows(name))
    assert tokenizer.vocab_size + len(unused) == rows(name)
    for token in (*unused[:3], *unused[-3:]):
        with pytest.raises(Problem, match=f"has no token of the id {token}$"):
            tokenizer.decode([token])


def test_an_embedding_padded_far_past_the_vocabulary(tokenizer_of):
    unused = tokenizer_of("an embedding padded far past").unused_ids(51200)
    assert unused == list(range(TOKENS + 2, 51200))


def test_ids_in_the_middle_may_be_unused(tmp_path):
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 2}, []))
    fields = json.loads(Tokenizer(models.BPE({"a": 0}, [])).to_str())
    fields["model"]["vocab"] = {"a": 0, "b": 2}
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    assert tokenizer.get_vocab_size() == 2
    assert GPT2Tokenizer.from_file(tmp_path / "tokenizer.json").unused_ids(4) == [1, 3]


MODES = [
    # text, special, added_tokens, tokens as text
    (f"a{END}b", False, "parse", None),
    (f"a{END}b", True, "parse", ["a", END, "b"]),
    (f"a{END}b", True, "text", ["a", END, "b"]),
    (f"a{END}b", False, "text", None),
]


@pytest.mark.parametrize(("text", "special", "added_tokens", "parts"), MODES)
@pytest.mark.parametrize("name", ["plain", "added_tokens_decoder", "added tokens of tokenizer.json", "a normalizer"])
def test_the_end_of_text_is_text_unless_parse_special(tokenizer_of, name, text, special, added_tokens, parts):
    tokenizer = tokenizer_of(name)
    tokens = tokenizer.encode(text, special, added_tokens=added_tokens)
    assert (tokenizer.end_of_text_id in tokens) == special
    assert tokenizer.decode(tokens) == text
    if parts:
        assert [tokenizer.decode([token]) for token in tokens] == parts


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("name", ["added_tokens_decoder", "added_tokens.json", "added tokens of tokenizer.json"])
def test_added_tokens_are_parsed_or_text(tokenizer_of, name, special):
    tokenizer, text = tokenizer_of(name), f"x<|user|>[PAD]y{END}"
    parsed = tokenizer.encode(text, special)
    assert [token for token in parsed if token >= TOKENS] != []
    plain = tokenizer.encode(text, special, added_tokens="text")
    assert [token for token in plain if token >= TOKENS] == []
    assert (0 in plain, 0 in parsed) == (special, special)  # <|endoftext|>
    assert tokenizer.decode(plain) == text


def test_white_space_around_an_added_token_is_its_own(tokenizer_of):
    tokenizer = tokenizer_of("added_tokens_decoder")
    assert tokenizer.encode("a  <|user|>  b") == [*tokenizer.encode("a"), TOKENS, *tokenizer.encode("b")]
    assert tokenizer.encode("token tok") == [*tokenizer.encode("token "), TOKENS + 2]


def test_a_token_past_the_embedding_is_a_problem_of_the_prompt(tmp_path):
    xml = beside_ir("added_tokens.json", tmp_path)
    tokenizer = load_tokenizer(xml, None, None, TOKENS)
    assert tokenizer.encode("a") == load_tokenizer(xml).encode("a")
    with pytest.raises(Problem) as caught:
        tokenizer.encode("a[PAD]")
    assert str(caught.value) == "the text has the token '[PAD]', whose id 8193 the model of 8192 tokens lacks"
    assert tokenizer.decode(tokenizer.encode("a[PAD]", added_tokens="text")) == "a[PAD]"


def test_a_vocabulary_past_the_embedding_is_refused(tmp_path):
    with pytest.raises(Problem, match="has 8000 tokens, its tokenizer 8192; "):
        load_tokenizer(beside_ir("plain", tmp_path), None, None, 8000)


def test_files_that_are_given_are_read_in_place_of_tokenizer_json(tmp_path):
    xml = beside_ir("add_prefix_space", tmp_path)
    files = [tmp_path / name for name in ("vocab.json", "merges.txt")]
    assert load_tokenizer(xml, *files).encode("the") != load_tokenizer(xml).encode("the")
    (tmp_path / "tokenizer.json").unlink()  # an older converter's IR
    assert load_tokenizer(xml).encode("the") == load_tokenizer(xml, *files).encode("the")


def streamed(tokenizer: GPT2Tokenizer, tokens: list[int]) -> list[str]:
    stream = IncrementalDetokenizer(tokenizer)
    return [*(stream.push(token) for token in tokens), stream.close()]


@pytest.mark.parametrize("name", ["plain", *OTHER_KINDS])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_run_of_tokens_streams_as_the_library_decodes(tokenizer_of, name, data):
    tokenizer = tokenizer_of(name)
    known = [i for i in range(rows(name)) if i not in set(tokenizer.unused_ids(rows(name)))]
    tokens = data.draw(st.lists(st.sampled_from(known) | st.sampled_from(known[:300]), max_size=12))
    library = tokenizer._tokenizer.decode(tokens, skip_special_tokens=False)
    assert "".join(streamed(tokenizer, tokens)) == tokenizer.decode(tokens) == library


@pytest.mark.parametrize("name", ["plain", *OTHER_KINDS])
@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=12) | st.text("日本é \u2581Hello,'s 19", max_size=20))
def test_a_text_streams_as_it_decodes(tokenizer_of, name, text):
    tokenizer = tokenizer_of(name)
    tokens = tokenizer.encode(text, template=True)
    assert "".join(streamed(tokenizer, tokens)) == tokenizer.decode(tokens)


DECODERS = {
    "Llama's": decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    ),
    "ByteLevel in a Sequence": decoders.Sequence([decoders.ByteLevel()]),
    "Metaspace": decoders.Metaspace(),
    "WordPiece": decoders.WordPiece(),
    "BPEDecoder": decoders.BPEDecoder(),
    "none": None,
}
PIECES = [
    "\u2581",
    "\u2581a",
    "a",
    "##b",
    ".",
    "\u2581\u2581",
    "<0xE6>",
    "<0x97>",
    "<0xA5>",
    "<0xFF>",
    "\u65e5",
    "a</w>",
]
PIECES += ["\u00e6", "\u0139", "\u00a5", "\u0120x", "'s", "<s>"]


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=300, deadline=None)
@given(tokens=st.lists(st.integers(0, len(PIECES) - 1), max_size=10))
def test_every_decoder_streams_as_it_decodes(tmp_path_factory, name, tokens):
    path = _written(name, str(tmp_path_factory.getbasetemp()))
    tokenizer = GPT2Tokenizer.from_file(path)
    assert "".join(streamed(tokenizer, tokens)) == tokenizer.decode(tokens)


@cache
def _written(name: str, folder: str) -> Path:
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(PIECES)}, unk_token="a"))
    if DECODERS[name] is not None:
        tokenizer.decoder = DECODERS[name]
    path = Path(folder) / f"{name}.json"
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("WordPiece", "hello the rains!", ["[CLS]", " hello", " the", " rain", "s", "!", " [SEP]", ""]),
        ("Unigram", "Hello a\u65e5", ["Hello", " a", "\u65e5", "</s>", ""]),
    ],
)
def test_each_character_appears_with_its_token(tokenizer_of, name, text, pieces):
    tokenizer = tokenizer_of(name)
    assert streamed(tokenizer, tokenizer.encode(text, template=True)) == pieces


def test_a_character_of_bytes_appears_with_the_token_after_them(tokenizer_of):
    tokenizer = tokenizer_of("Unigram with bytes")
    of_byte = {f"<0x{byte:02X}>": 4 + byte for byte in range(256)}
    cat, a = [of_byte[f"<0x{byte:02X}>"] for byte in "\u732b".encode()], tokenizer.encode("a")[-1]
    assert streamed(tokenizer, [*cat, a]) == ["", "", "", "\u732b a", ""]
    assert streamed(tokenizer, cat[:2]) == ["", "", "\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("BPE", [299, 220, 51, 71, 68, 264, 296, 77, 11, 258, 300]),
        ("WordPiece", [2, 7, 10, 19, 20, 0, 3]),
        ("Unigram", [6, 7, 36, 9, 4, 3, 2]),
    ],
)
def test_what_a_newer_tokenizers_wrote_is_read(name, tokens):
    """The oldest version that setup.cfg allows runs this test too."""
    tokenizer = GPT2Tokenizer.from_file(DATA / "tokenizers-0.23.3" / f"{name}.json")
    assert tokenizer.encode("The rain, a [PAD]", special=True, template=True) == tokens
