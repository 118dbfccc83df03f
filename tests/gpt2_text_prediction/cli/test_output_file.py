"""output_file: what is in the file is whole, of this run, and there once, whenever it was cut."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2_text_prediction import Problem
from gpt2_text_prediction.cli.output_file import Records

WRONG = [
    b'{"run": "abc", "prompt_number": [1], "sample": 1, "prompt": "a", "run_seed": 1}\n',
    b'{"run": "abc", "prompt_number": 1, "sample": 1, "prompt": null, "run_seed": 1}\n',
    b'{"run": "abc", "prompt_number": 1, "sample": {}, "prompt": "a", "run_seed": "x"}\n',
]


def record(n: int, sample: int = 1) -> dict:
    return {"run_seed": 7, "prompt_number": n, "sample": sample, "prompt": f"prompt {n}", "text": "é\n"}


def written(path, count: int, run: str = "abc") -> bytes:
    records = Records(path, run)
    for n in range(1, count + 1):
        records.add(record(n))
    records.close()
    return path.read_bytes()


def test_records_are_lines_of_json_that_are_found_again(tmp_path):
    path = tmp_path / "out.jsonl"
    lines = written(path, 3).splitlines()
    assert [json.loads(line) for line in lines] == [{"run": "abc", **record(n)} for n in (1, 2, 3)]
    again = Records(path, "abc")
    assert set(again.done) == {(1, 1), (2, 1), (3, 1)}
    assert again.seed() == {"seed": 7}
    again.close()


def test_what_has_no_end_to_read_to_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(Problem, match=rf"^-o {path}: is no regular file; expected one"):
            Records(path, "abc")


def test_a_new_file_has_no_seed(tmp_path):
    records = Records(tmp_path / "out.jsonl", "abc")
    assert (records.done, records.seed()) == ({}, {})
    records.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 400))
def test_wherever_it_was_cut_the_rest_is_added_and_the_file_is_the_same(tmp_path, cut):
    path = tmp_path / "out.jsonl"
    path.unlink(missing_ok=True)
    whole = written(path, 4)
    path.write_bytes(whole[:cut])
    records = Records(path, "abc")
    assert sorted(records.done) == [(n + 1, 1) for n in range(whole[:cut].count(b"\n"))]
    for n in range(1, 5):
        if (n, 1) not in records.done:
            records.add(record(n))
    records.close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"{}\n",
        b"[]\n",
        b"3\n",
        b"notes without an end",
        b'{"run": "xyz"}\n',
        b"[" * 100_000 + b"\n",
        *WRONG,
    ],
)
def test_a_file_of_anything_else_is_a_problem_and_stays(tmp_path, content):
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(Problem, match="line 1 is of another run"):
        Records(path, "abc")
    assert path.read_bytes() == content


def test_another_runs_records_are_a_problem(tmp_path):
    path = tmp_path / "out.jsonl"
    whole = written(path, 2)
    with pytest.raises(Problem, match="line 1 is of another run, of another model or other settings: give another"):
        Records(path, "other")
    assert path.read_bytes() == whole


def test_two_cannot_write_at_once_and_a_folder_cannot_be_written(tmp_path):
    first = Records(tmp_path / "out.jsonl", "abc")
    with pytest.raises(Problem, match="another process is writing it"):
        Records(tmp_path / "out.jsonl", "abc")
    first.close()
    with pytest.raises(Problem, match="cannot be written: "):
        Records(tmp_path, "abc")
