"""What zlib's own module compressed comes back, however it arrives; nothing takes more memory or time than it gives."""

import contextlib
import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.download.content_encoding import PIECE, UndecodableError, decode

TEXT = b"The poem was written by the sea. " * 9
GZIP = gzip.compress(TEXT, mtime=0)


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@given(
    st.lists(st.binary(max_size=99), min_size=1, max_size=4),
    st.integers(1, 99),
    st.sampled_from(["gzip", "x-gzip", "GZIP "]),
)
def test_members_of_gzip_in_any_pieces(texts: list[bytes], size: int, encoding: str) -> None:
    body = b"".join(map(gzip.compress, texts))
    assert b"".join(decode(pieces(body, size), encoding)) == b"".join(texts)


def test_deflate() -> None:
    assert b"".join(decode(pieces(zlib.compress(TEXT), 7), "deflate")) == TEXT


def test_a_bomb_is_decoded_in_bounded_pieces() -> None:
    size = 50 * PIECE + 3
    lengths = [len(piece) for piece in decode([gzip.compress(bytes(size))], "gzip")]
    assert sum(lengths) == size
    assert max(lengths) == PIECE


def test_empty_members_without_end_give_the_reader_a_turn_for_each() -> None:
    body = itertools.repeat(gzip.compress(b""))
    assert list(itertools.islice(decode(body, "gzip"), 1000)) == [b""] * 1000


def test_what_follows_the_last_member_is_left_out() -> None:
    assert b"".join(decode(pieces(GZIP + b"no gzip" * 9, 10), "gzip")) == TEXT


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (TEXT, "gzip", "it is not gzip: "),
        (GZIP[:-1], "gzip", "it ends within its gzip"),
        (GZIP + GZIP[:15], "gzip", "it ends within its gzip"),
        (b"", "gzip", "it ends within its gzip"),
        (zlib.compress(TEXT)[:-1], "deflate", "it ends within its deflate"),
        (TEXT, "br", "its encoding is br, which was not asked for"),
        (TEXT, "gzip, br", "its encoding is gzip, br, which was not asked for"),
    ],
)
def test_what_cannot_be_decoded(body: bytes, encoding: str, words: str) -> None:
    with pytest.raises(UndecodableError, match=f"^{words}"):
        list(decode(pieces(body, 20), encoding))


@given(st.binary(max_size=99))
def test_garbage_is_an_error_or_bytes(body: bytes) -> None:
    with contextlib.suppress(UndecodableError):
        list(decode(pieces(body, 9), "gzip"))
