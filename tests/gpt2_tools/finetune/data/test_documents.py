"""documents: what a document is in each kind of data set, and how each kind is refused."""

import json
from functools import partial

import numpy as np
import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.data.documents import find_files, read_pieces, read_tokens
from support.refusal import refused


def documents(path, column=None) -> list[str]:
    """Return the whole documents of a file."""
    found = [""]
    for piece in read_pieces(path, column):
        found[-1] += piece.text
        if piece.ends:
            found.append("")
    assert found.pop() == ""
    return found


def read(path, column=None):
    return documents(path, column)


refusal = partial(refused, Problem, read)


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_text_file_is_one_document(tmp_path):
    text = "a hen \n" * 10_000
    assert documents(write(tmp_path / "t.txt", text)) == [text]


def test_end_of_text_ends_a_document(tmp_path):
    path = write(tmp_path / "t.txt", "one<|endoftext|>two\n<|endoftext|><|endoftext|>three<|endoftext|>")
    assert documents(path) == ["one", "two\n", "three"]


def test_long_documents_between_ends_of_text_stay_whole(tmp_path):
    parts = ["a hen " * 9000, "b", "c fox " * 9000]
    assert documents(write(tmp_path / "t", "<|endoftext|>".join(parts))) == parts


def test_a_folder_has_its_text_files_by_name(tmp_path):
    for name in ("b.txt", "a.TXT", "sub/c.txt", "d.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, "x")
    assert [path.name for path in find_files(tmp_path)] == ["a.TXT", "b.txt", "c.txt"]


def test_the_folders_of_the_runs_are_no_data(tmp_path):
    for name in ("a.txt", "texts/b.txt", "texts/run1/samples/c.txt", "checkpoint/run1/samples/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, "x")
    runs = tmp_path / "checkpoint"
    assert [path.name for path in find_files(tmp_path, (runs, runs / "run1"))] == ["a.txt", "b.txt", "c.txt"]
    beside = (tmp_path, tmp_path / "texts/run1")  # --checkpoint_dir is the folder of the data, or above it
    assert [path.name for path in find_files(tmp_path / "texts", beside)] == ["b.txt"]


@pytest.mark.parametrize(
    ("name", "content"), [("t.txt", "a hen"), ("t.csv", "text,b\na hen,c\n"), ("t.jsonl", '{"text": "a hen"}')]
)
def test_a_byte_order_mark_is_no_text(tmp_path, name, content):
    column = "text" if name == "t.csv" else None
    assert documents(write(tmp_path / name, f"\ufeff{content}"), column) == ["a hen"]


def test_the_header_of_a_csv_is_its_first_line_that_is_not_blank(tmp_path):
    assert documents(write(tmp_path / "t.csv", "\n\nbody\none\n"), "body") == ["one"]


def test_a_csv_has_a_document_in_each_row(tmp_path):
    path = write(tmp_path / "t.csv", 'body,title\n"one\nhen",x\n"say ""a""",y\n,z\n')
    assert documents(path) == ["one\nhen", 'say "a"']
    assert documents(path, "title") == ["x", "y", "z"]


def test_a_csv_field_may_be_long(tmp_path):
    assert documents(write(tmp_path / "t.csv", f"text\n{'a' * 200_000}\n")) == ["a" * 200_000]


def test_json_lines_have_a_document_each(tmp_path):
    rows = [{"text": "a\n日", "other": "b"}, {"text": ""}, {"text": "c"}]
    path = write(tmp_path / "t.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert documents(path) == ["a\n日", "c"]
    assert documents(write(tmp_path / "u.jsonl", json.dumps(rows[0])), "other") == ["b"]


def test_gpt_2_simples_tokens_are_read(tmp_path):
    np.savez_compressed(tmp_path / "t.npz", np.array([1, 2]), np.array([3], np.int32))
    assert [tokens.tolist() for tokens in read_tokens(tmp_path / "t.npz", 4)] == [[1, 2], [3]]


@pytest.mark.parametrize(
    ("name", "content", "column", "about"),
    [
        ("t.txt", b"ab\n\xff", None, "expected UTF-8, got 0xff as byte 1 of line 2"),
        ("t.csv", "a,b\n1,2\n", "c", "expected a column 'c', got a, b"),
        ("t.csv", "a,b\n1,2\n3\n", "b", "line 3: expected 2 columns or more, got 1"),
        ("t.csv", 'a\n"b"c\n', None, "line 2: is not CSV"),
        ("t.csv", b"a\n\xff\n", None, "byte 1 of line 2"),
        ("t.jsonl", '{"text": "a"}\n{', None, "line 2: is not JSON"),
        ("t.jsonl", '{"text": 1}', None, 'line 1: expected an object with a string under "text"'),
        ("t.jsonl", '{"text": "\\ud800"}', None, "line 1: expected Unicode characters, got a lone surrogate"),
        ("t.jsonl", '{"text": "a"}', "b", 'expected an object with a string under "b"'),
    ],
)
def test_what_cannot_be_read_is_refused_by_file_and_line(tmp_path, name, content, column, about):
    refusal(write(tmp_path / name, content), column, about=about)


def test_other_arrays_are_refused(tmp_path):
    refuse = partial(refused, Problem, lambda path: list(read_tokens(path, 4)))
    np.savez(tmp_path / "big.npz", np.array([1, 4]))
    refuse(tmp_path / "big.npz", about="has the token id 4; the model has 4 tokens")
    np.savez(tmp_path / "low.npz", np.array([1, -7]))
    refuse(tmp_path / "low.npz", about="has the token id -7; the model has 4 tokens")
    np.savez(tmp_path / "floats.npz", np.array([1.5]))
    refuse(tmp_path / "floats.npz", about="got arr_0 of float64 [1]")
    np.savez(tmp_path / "pickled.npz", np.array([None]))
    refuse(write(tmp_path / "text.npz", "abc"), about="got another file")
    refuse(tmp_path / "pickled.npz", about="got another file")
    whole = (tmp_path / "big.npz").read_bytes()
    refuse(write(tmp_path / "half.npz", whole[: len(whole) // 2]), about="got a")


def test_what_is_missing_or_empty_is_refused(tmp_path):
    refuse = partial(refused, Problem, find_files)
    refuse(tmp_path, about="expected text files (*.txt) in this folder, got none")
    refuse(write(tmp_path / "t.txt", ""), about="is empty")
    with pytest.raises(Exception, match="No such file"):
        find_files(tmp_path / "none.txt")
