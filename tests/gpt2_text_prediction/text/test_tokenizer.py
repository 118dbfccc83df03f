"""tokenizer: the real GPT-2 vocabulary, round trips, and a stream that never cuts a character."""

import hashlib
import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_text_prediction import Problem
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer, IncrementalDetokenizer
from support import DATA
from support.refusal import refused
from support.toy import BYTE_SYMBOLS, Toy

TOKENIZER = DATA / "gpt2-tokenizer"


@pytest.fixture(scope="module")
def gpt2() -> GPT2Tokenizer:
    return GPT2Tokenizer(TOKENIZER / "vocab.json", TOKENIZER / "merges.txt")


@pytest.mark.parametrize(
    ("name", "size", "digest"),
    [
        ("vocab.json", 1042301, "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
        ("merges.txt", 456318, "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
    ],
)
def test_the_vocabulary_is_the_published_one(name, size, digest):
    raw = (TOKENIZER / name).read_bytes()
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (size, digest)


def test_its_size_and_its_end_of_text_are_gpt2s(gpt2):
    assert (gpt2.vocab_size, gpt2.end_of_text_id) == (50257, 50256)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello world", [15496, 995]),
        (" Hello world", [18435, 995]),
        ("The quick brown fox jumps over the lazy dog", [464, 2068, 7586, 21831, 18045, 625, 262, 16931, 3290]),
        ("", []),
        (" ", [220]),
        ("  two", [220, 734]),
        ("\n", [198]),
        ("\n\n", [628]),
        ("日本語", [33768, 98, 17312, 105, 45739, 252]),
        ("😀", [47249, 222]),
        ("\0", [188]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_known_encodings(gpt2, text, tokens):
    assert gpt2.encode(text) == tokens
    assert gpt2.decode(tokens) == text


def test_the_end_of_text_token_reads_as_its_name(gpt2):
    assert gpt2.decode([15496, 50256]) == "Hello<|endoftext|>"


def test_the_end_of_text_in_a_text_is_text(gpt2):
    for text in ("<|endoftext|>", "a<|endoftext|>b", " <|endoftext|><|endoftext|>\n"):
        assert 50256 not in gpt2.encode(text)
        assert gpt2.decode(gpt2.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_decoding_an_encoded_text_gives_it_back(gpt2, text):
    assert gpt2.decode(gpt2.encode(text)) == text


@pytest.mark.parametrize(
    "text", ["\r\n", "\ufeffx", "\u2028", "é" * 200, "e\u0301", "👩‍👩‍👧", " \t \n ", "\x7f\x80", "\U0010ffff"]
)
def test_odd_texts_come_back_as_they_were(gpt2, text):
    assert gpt2.decode(gpt2.encode(text)) == text


def test_each_byte_has_its_token(gpt2):
    bytes_of_tokens = {gpt2.token_bytes(token) for token in range(256)}
    assert bytes_of_tokens == {bytes([n]) for n in range(256)}


def test_every_token_stands_for_the_bytes_that_its_symbols_spell(gpt2):
    byte_of = {symbol: n for n, symbol in zip(_bytes_in_order(), BYTE_SYMBOLS, strict=True)}
    vocabulary = json.loads((TOKENIZER / "vocab.json").read_text(encoding="utf-8"))
    for symbols, token in vocabulary.items():
        assert gpt2.token_bytes(token) == bytes(byte_of[symbol] for symbol in symbols)


def _bytes_in_order() -> list[int]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*plain, *(n for n in range(256) if n not in plain)]


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "ok \udfff"])
def test_a_lone_surrogate_is_a_problem_that_tells_where(gpt2, text):
    with pytest.raises(Problem, match="not valid UTF-8 at character"):
        gpt2.encode(text)


def test_an_id_past_the_vocabulary_is_a_problem(gpt2):
    with pytest.raises(Problem, match="50257"):
        gpt2.token_bytes(50257)


@pytest.mark.parametrize("token", [-1, 2**32, 2**70])
def test_an_id_that_no_vocabulary_has_is_a_problem(gpt2, token):
    with pytest.raises(Problem, match=str(token)):
        gpt2.token_bytes(token)


def streamed(tokenizer: GPT2Tokenizer, tokens) -> list[str]:
    stream = IncrementalDetokenizer(tokenizer)
    return [*(stream.push(token) for token in tokens), stream.close()]


def check_stream(tokenizer: GPT2Tokenizer, tokens) -> None:
    """Each piece appears when, and only when, the bytes so far make it certain."""
    raw = b"".join(tokenizer.token_bytes(token) for token in tokens)
    pieces = streamed(tokenizer, tokens)
    assert "".join(pieces) == raw.decode(errors="replace") == tokenizer.decode(tokens)
    sent = ""
    for n, piece in enumerate(pieces[:-1], 1):
        sent += piece
        so_far = b"".join(tokenizer.token_bytes(token) for token in tokens[:n])
        waiting = max(k for k in range(min(3, len(so_far)) + 1) if k == 0 or so_far[-k:] in CHARACTERS_CUT)
        assert sent == so_far[: len(so_far) - waiting].decode(errors="replace")


CHARACTERS = [chr(code).encode(errors="surrogatepass") for code in range(0x80, 0x110000, 0x40)]
CHARACTERS_CUT = {character[:k] for character in CHARACTERS for k in range(1, len(character))}
"""Every run of bytes that something may complete to one character; Python waits for the end of surrogates too."""


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("日本", ["", "日", "", "本", ""]), ("😀!", ["", "😀", "!", ""]), ("Hello world", ["Hello", " world", ""])],
)
def test_a_character_appears_with_its_last_token(gpt2, text, pieces):
    assert streamed(gpt2, gpt2.encode(text)) == pieces


def test_a_character_that_is_never_completed_is_replaced_at_the_end(gpt2):
    assert streamed(gpt2, gpt2.encode("日")[:1]) == ["", "\ufffd"]
    assert streamed(gpt2, [*gpt2.encode("😀")[:1], *gpt2.encode("x")]) == ["", "\ufffdx", ""]
    assert streamed(gpt2, []) == [""]


def test_bytes_that_no_text_has_are_replaced_one_by_one(gpt2):
    byte_token = {gpt2.token_bytes(token): token for token in range(256)}
    for raw in (b"\xff\xfe\xfd", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98a"):
        check_stream(gpt2, [byte_token[bytes([byte])] for byte in raw])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 50256) | st.integers(94, 255), max_size=12))
def test_any_run_of_tokens_streams_as_it_decodes(gpt2, tokens):
    check_stream(gpt2, tokens)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=8).map(str.encode), st.lists(st.integers(0, 40), max_size=3))
def test_texts_with_bytes_cut_out_stream_as_they_decode(gpt2, raw, cuts):
    for cut in cuts:
        raw = raw[:cut] + raw[cut + 1 :]
    byte_token = {gpt2.token_bytes(token): token for token in range(256)}
    check_stream(gpt2, [byte_token[bytes([byte])] for byte in raw])


def test_two_streams_do_not_share_their_cut_characters(gpt2):
    one, two = IncrementalDetokenizer(gpt2), IncrementalDetokenizer(gpt2)
    first, last = gpt2.encode("日")
    assert one.push(first) == ""
    assert two.push(15496) == "Hello"
    assert one.push(last) == "日"


def test_a_token_written_in_plain_text_is_its_text(tmp_path):
    vocabulary = {symbol: n for n, symbol in enumerate([*BYTE_SYMBOLS, "日本"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    assert GPT2Tokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt").decode([256]) == "日本"


@pytest.fixture
def files(tmp_path):
    Toy().write_vocabulary(tmp_path)
    return tmp_path / "vocab.json", tmp_path / "merges.txt"


refusal = partial(refused, Problem, lambda files: GPT2Tokenizer(*files))


def test_the_toy_vocabulary_is_read(files):
    tokenizer = GPT2Tokenizer(*files)
    assert (tokenizer.vocab_size, tokenizer.end_of_text_id) == (300, 299)
    text = "the rain in Spain ... 日本 😀"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("the")) < 3


def test_without_an_end_of_text_there_is_none(files):
    vocabulary = json.loads(files[0].read_text())
    vocabulary["other"] = vocabulary.pop("<|endoftext|>")
    files[0].write_text(json.dumps(vocabulary))
    assert GPT2Tokenizer(*files).end_of_text_id is None


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"\xff\xfe\xfd", b"[" * 10**5, b"[]", b"null", b'"a"'),
        *(b'{"a": "0"}', b'{"a": 0.0}', b'{"a": true}', b'{"a": null}', b'{"a": 1}', b'{"a": 4294967296}'),
        *(b'{"a": 0, "b": 0}', b'{"a": -1, "b": 0}', b'{"a": 0, "b": 2}'),
    ],
    ids=lambda raw: raw[:20].decode(errors="replace"),
)
def test_a_broken_vocabulary_is_refused(files, raw):
    files[0].write_bytes(raw)
    assert refusal(files).startswith(str(files[0]))


@pytest.mark.parametrize(
    "raw",
    [
        b"#version: 0.2\nabc\n",
        b"#version: 0.2\na b c\n",
        b"#version: 0.2\n\xff \xfe\n",
        b"zzz zzz\n",
        b"#version: 0.2\nt Q\n",
    ],
    ids=str,
)
def test_broken_merges_are_refused(files, raw):
    files[1].write_bytes(raw)
    assert str(files[1]) in refusal(files)


def test_merges_of_another_vocabulary_are_refused(files):
    assert "merges.txt" in refusal((files[0], TOKENIZER / "merges.txt"))


def test_the_files_in_the_wrong_order_are_refused(files):
    refusal((files[1], files[0]))


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_file_and_a_folder_are_refused_by_name(files, which):
    files[which].unlink()
    assert files[which].name in refusal(files)
    files[which].mkdir()
    assert files[which].name in refusal(files)


def test_a_vocabulary_that_lacks_bytes_is_refused_or_its_texts_are(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(Problem):
        GPT2Tokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt").encode("abc")


@pytest.mark.parametrize("seed", range(3))
def test_bytes_changed_anywhere_in_the_files_are_read_or_refused(tmp_path, seed):
    Toy().write_vocabulary(tmp_path)
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    whole = [path.read_bytes() for path in files]
    rng = np.random.default_rng(seed)
    for _ in range(150):
        which = int(rng.integers(2))
        raw = bytearray(whole[which])
        for at in rng.integers(len(raw), size=int(rng.integers(1, 4))):
            raw[at] = rng.integers(256)
        files[which].write_bytes(raw)
        try:
            GPT2Tokenizer(*files).encode("the rain")
        except Problem as problem:
            assert "\n" not in str(problem)  # noqa: PT017
        files[which].write_bytes(whole[which])
