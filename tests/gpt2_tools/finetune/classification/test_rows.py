"""rows: the same rows from CSV with and without a header, JSON lines and parquet; what cannot be read is one line."""

import csv
import json
from importlib.util import find_spec

import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.classification.rows import Columns, read_rows

ROWS = [("a, b", "x"), ('say "no"\nor yes', "y"), ("ça", "x"), ("1", "2")]
NAMES, NUMBERS = Columns(), Columns("2", "1")


def found(path, columns=NAMES):
    return [(row.text, row.label) for row in read_rows(path, columns)]


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_header_names_the_columns(tmp_path):
    rows = [("id", "label", "text"), *((i, label, text) for i, (text, label) in enumerate(ROWS))]
    assert found(write_csv(tmp_path / "t.csv", rows)) == ROWS


def test_without_a_header_columns_have_numbers_from_1(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(label, text) for text, label in ROWS])
    assert found(path, NUMBERS) == ROWS


def test_a_header_may_be_numbers(tmp_path):
    path = write_csv(tmp_path / "t.csv", [("1", "2"), ("x", "a")])
    assert found(path, NUMBERS) == [("a", "x")]


def test_blank_lines_a_byte_order_mark_and_spaces_around_labels_count_for_nothing(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufefftext,label\n\na, x \n\n".encode())
    assert found(tmp_path / "t.csv") == [("a", "x")]


def test_json_lines_have_labels_of_any_plain_kind(tmp_path):
    values = ["x", 3, 3.0, 2.5, True, None, " y "]
    lines = [json.dumps({"text": "a", "label": value}) for value in values]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert [label for _, label in found(tmp_path / "t.jsonl")] == ["x", "3", "3", "2.5", "true", "", "y"]


@pytest.mark.extras("pyarrow")
def test_parquet_has_the_same_rows(tmp_path):
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    texts, labels = zip(*ROWS, strict=True)
    parquet.write_table(pa.table({"id": [1, 2, 3, 4], "text": texts, "label": labels}), tmp_path / "t.parquet")
    assert found(tmp_path / "t.parquet") == ROWS
    parquet.write_table(pa.table({"text": ["a", None], "label": [4, None]}), tmp_path / "n.parquet")
    assert found(tmp_path / "n.parquet") == [("a", "4"), ("", "")]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    for name, line in (("n", "expected a column 'body' (--text_column), got text, label"), ("b", "expected a parquet")):
        with pytest.raises(Problem) as caught:
            found(tmp_path / f"{name}.parquet", Columns("body"))
        assert str(caught.value).startswith(f"{tmp_path / name}.parquet: {line}")


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="needs an environment without pyarrow: make test has it")
def test_without_pyarrow_the_line_names_the_command(tmp_path):
    with pytest.raises(Problem, match=r"t.parquet: needs pyarrow, which is not installed: pip install pyarrow"):
        found(tmp_path / "t.parquet")


WRONG = [
    ("t.csv", b"body,label\na,x\n", NAMES, "expected a column 'text' (--text_column), got body, label; in a file "),
    (
        "t.csv",
        b"text,kind\na,x\n",
        Columns(),
        "expected a column 'label' (--label_column), got text, kind; in a file w",
    ),
    ("t.csv", b"a,x\n", Columns("3", "2"), "expected a column 3, counted from 1, got 2 columns"),
    ("t.csv", b"a,x\n", Columns("0", "2"), "expected a column 0, counted from 1, got 2 columns"),
    ("t.csv", b"text,label\na,x\nb\n", NAMES, "line 3: expected 2 columns, as in the first row, got 1"),
    ("t.csv", b"x,a\ny,b,c\n", NUMBERS, "line 2: expected 2 columns, as in the first row, got 3"),
    ("t.csv", b'text,label\n"a,x\n', NAMES, "line 2: is not CSV: unexpected end of data"),
    ("t.csv", b"text,label\na,x\n\xff,x\n", NAMES, "expected UTF-8, got 0xff as byte 1 of line 3 (byte 16 of the"),
    ("t.jsonl", b'{"text": "a"}\n', NAMES, "line 1: expected a column 'label' (--label_column), got text"),
    ("t.jsonl", b'{"text": "a", "label": "x"}\n[1]\n', NAMES, "line 2: expected an object with 'text' and 'label'"),
    ("t.jsonl", b'{"text": 5, "label": "x"}\n', NAMES, "line 1: expected a string as text, got 5"),
    (
        "t.jsonl",
        b'{"text": "a", "label": ["x"]}\n',
        Columns(),
        "line 1: expected a text or a number as label, got ['x'",
    ),
    ("t.jsonl", b'{"text": "a", "label": "\\ud800"}\n', NAMES, "line 1: expected Unicode characters, got a lone s"),
    ("t.jsonl", b"{", NAMES, "line 1: is not JSON"),
]


@pytest.mark.parametrize(("name", "content", "columns", "line"), WRONG, ids=[line for *_, line in WRONG])
def test_what_cannot_be_read_is_one_line_with_its_place(tmp_path, name, content, columns, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Problem) as caught:
        found(tmp_path / name, columns)
    assert str(caught.value).startswith(f"{tmp_path / name}: {line}")
    assert "\n" not in str(caught.value)


def test_one_column_for_both_is_refused():
    with pytest.raises(Problem, match="--text_column, --label_column: expected two columns, got a for both"):
        Columns("a", "a")
