"""text_stream: the same text as Python reads at once, and the place of a byte that is none."""

from functools import partial

import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.text_stream import UNSPACED, byte_chunks, decoded, lines, pieces, streamed_pieces, without_mark
from support.refusal import refused

TEXT = "Grüße,\n日本 and\n\n🐔 hens  \n end"
refusal = partial(refused, Problem, lambda path, chunks: list(decoded(path, chunks)))


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_characters_that_are_cut_between_chunks_are_put_together(tmp_path, size):
    assert "".join(decoded(tmp_path, cut(TEXT.encode(), size))) == TEXT


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_wrong_byte_is_named_by_line_and_place(tmp_path, size):
    raw = "añ\nbü日\xff".encode()[:-2] + b"\xffrest\n"
    line = refusal(tmp_path / "t.txt", cut(raw, size))
    assert line == f"{tmp_path / 't.txt'}: expected UTF-8, got 0xff as byte 7 of line 2 (byte 11 of the file)"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_character_that_the_end_cuts_off_is_refused(tmp_path, size):
    assert "got 0xe6 as byte 2 of line 2 (byte 5" in refusal(tmp_path / "t", cut(b"ab\nc" + "日".encode()[:2], size))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_are_cut_at_line_feeds_alone(size):
    text = "a\u2028b\r\nc\n\nd"
    assert list(lines(text[i : i + size] for i in range(0, len(text), size))) == ["a\u2028b\r\n", "c\n", "\n", "d"]


def test_a_byte_order_mark_is_left_out_at_the_beginning_alone():
    assert "".join(without_mark(["", "\ufeff", "\ufeffa\ufeff"])) == "\ufeffa\ufeff"


@pytest.mark.parametrize("size", [1, 7, 50])
def test_pieces_of_a_stream_are_those_of_the_whole(size):
    text = "one two  three\nfour, five.\n\nsix seven eight nine ten"
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    assert list(streamed_pieces(chunks, 5)) == list(pieces(text, 5))


def test_a_script_without_spaces_is_split_before_a_line_break():
    text = ("字" * 999 + "\n") * 3000
    found = list(streamed_pieces(cut_text(text, 2**18), 100))
    assert "".join(found) == text
    assert max(map(len, found)) <= UNSPACED + 2**18 + 1000
    assert all(piece.startswith("\n") for piece in found[1:])


def cut_text(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def test_a_pipe_is_refused(tmp_path):
    import os  # noqa: PLC0415

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Exception, match="expected a file, got a pipe or a device"):
        list(byte_chunks(tmp_path / "pipe"))
