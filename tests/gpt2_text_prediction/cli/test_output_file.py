"""output_file: what is in the file is whole, of this run, and there once, whenever it was cut."""

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2_text_prediction import Problem
from gpt2_text_prediction.cli.output_file import Records
from gpt2_text_prediction.cli.run_key import PARTS

RUN = dict.fromkeys(PARTS, "abc")
F32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f16"}
WRONG = [
    b'{"run": {}, "properties": {"X": ""}, "prompt_number": 1, "sample": 1, "prompt": "", "settings": {}, '
    b'"run_seed": 1}\n',
    b'{"run": {}, "properties": {}, "prompt_number": [1], "sample": 1, "prompt": "a", "settings": {}, "run_seed": 1}\n',
    b'{"run": {}, "properties": {}, "prompt_number": 1, "sample": 1, "prompt": null, "settings": {}, "run_seed": 1}\n',
    b'{"run": {}, "properties": {}, "prompt_number": 1, "sample": {}, "prompt": "", "settings": {}, "run_seed": "x"}\n',
    b'{"run": [], "prompt_number": 1, "sample": 1, "prompt": "a", "settings": {}, "run_seed": 1}\n',
    b'{"run": {}, "properties": {}, "prompt_number": 1, "sample": 1, "prompt": "a", "settings": [], "run_seed": 1}\n',
]


def record(n: int, sample: int = 1, seed: int = 7) -> dict:
    shared = {"run_seed": seed, "prompt_number": n, "settings": {}, "sample": sample}
    return {**shared, "prompt": f"prompt {n}", "text": "é\n"}


def written(path, count: int) -> bytes:
    records = Records(path, RUN)
    records.begin(F32)
    for n in range(1, count + 1):
        records.add([record(n)])
    records.close()
    return path.read_bytes()


def there(records: Records, n: int) -> list[int]:
    return list(records.samples_of(n, f"prompt {n}", {}))


def lines(*records: dict) -> bytes:
    return b"".join(json.dumps({"run": RUN, "properties": F32, **one}).encode() + b"\n" for one in records)


def test_records_are_lines_of_json_that_are_found_again(tmp_path):
    path = tmp_path / "out.jsonl"
    lines = written(path, 3).splitlines()
    assert [json.loads(line) for line in lines] == [{"run": RUN, "properties": F32, **record(n)} for n in (1, 2, 3)]
    again = Records(path, RUN)
    assert [there(again, n) for n in range(5)] == [[], [1], [1], [1], []]
    assert (again.count, again.seed, again.properties) == (3, 7, F32)
    again.close()


def test_records_are_found_in_any_order_and_each_counts_once(tmp_path):
    path = tmp_path / "out.jsonl"
    other = record(2) | {"prompt": "another one, before the one that counts"}
    path.write_bytes(lines(record(4, 2), record(1, 3), other, record(4, 1), record(2), record(1, 1), record(1, 3)))
    records = Records(path, RUN)
    assert [there(records, n) for n in range(1, 5)] == [[1, 3], [1], [], [1, 2]]
    assert records.count == 5
    records.close()


def test_a_record_of_another_prompt_or_of_other_settings_is_a_problem(tmp_path):
    path = tmp_path / "out.jsonl"
    own = {"temperature": 1, "logit_bias": {"7": 1.5, "8": 2}}
    path.write_bytes(lines(record(1), record(2) | {"settings": own}, record(2, 2) | {"settings": own}))
    records = Records(path, RUN)
    with pytest.raises(Problem, match=r"^is another prompt than the one in the output file: give another file with -o"):
        records.samples_of(1, "prompt 2", {})
    with pytest.raises(Problem, match=r"^top_k: is another than in the output file: give another file with -o"):
        records.samples_of(1, "prompt 1", {"top_k": 3})
    with pytest.raises(Problem, match=r"^logit_bias: is another than in the output file"):
        records.samples_of(2, "prompt 2", {**own, "temperature": 2, "logit_bias": {}})
    same = {"logit_bias": {"8": 2.0, "7": 1.5}, "temperature": 1.0}
    assert list(records.samples_of(2, "prompt 2", same)) == [1, 2]
    records.add([record(3)])  # at the end, wherever was read
    records.close()
    assert json.loads(path.read_bytes().splitlines()[-1])["prompt_number"] == 3


def test_of_the_records_of_a_file_no_text_is_kept(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(lines(*(record(n) | {"text": "a" * 10_000} for n in range(1000))))  # 10 MB
    tracemalloc.start()
    try:
        records = Records(path, RUN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert records.count == 1000
    assert peak < 1 << 20
    records.close()


def test_what_has_no_end_to_read_to_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(Problem, match=rf"^-o {path}: is no regular file; expected one"):
            Records(path, RUN)


def test_a_new_file_has_no_seed(tmp_path):
    records = Records(tmp_path / "out.jsonl", RUN)
    assert (there(records, 1), records.count, records.seed, records.properties) == ([], 0, None, {})
    records.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 1000))
def test_wherever_it_was_cut_the_rest_is_added_and_the_file_is_the_same(tmp_path, cut):
    path = tmp_path / "out.jsonl"
    path.unlink(missing_ok=True)
    whole = written(path, 4)
    path.write_bytes(whole[:cut])
    records = Records(path, RUN)
    records.begin(F32)
    left = [n for n in range(1, 5) if not there(records, n)]
    assert left == list(range(whole[:cut].count(b"\n") + 1, 5))
    records.add([record(n) for n in left])
    assert records.count == 4
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
        b"[" * 100_000 + b"\n",
        lines(record(1 << 63)),
        *WRONG,
    ],
)
def test_a_file_of_anything_else_is_a_problem_and_stays(tmp_path, content):
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(Problem, match="line 1 is no record: give another file, or remove this one"):
        Records(path, RUN)
    assert path.read_bytes() == content


def test_another_runs_records_are_a_problem(tmp_path):
    path = tmp_path / "out.jsonl"
    whole = written(path, 2)
    for parts, words in [
        ({"weights": "x"}, "the weights"),
        ({"weights": "x", "device": "x"}, "the weights and the device or its properties"),
        ({"tokenizer": "x", "settings": "x", "openvino": "x"}, "the tokenizer, the settings and OpenVINO's version"),
    ]:
        with pytest.raises(Problem, match=f"line 1 is of another run; different: {words}: give another"):
            Records(path, RUN | parts)
    with pytest.raises(Problem, match="line 1 is of a run with the seed 7, not 8: give another"):
        Records(path, RUN, 8)
    assert path.read_bytes() == whole


def test_a_run_has_one_seed(tmp_path):
    path = tmp_path / "out.jsonl"
    other = {"run": RUN, "properties": F32, **record(2, seed=8)}
    path.write_bytes(written(path, 1) + json.dumps(other).encode() + b"\n")
    with pytest.raises(Problem, match="line 2 is of a run with the seed 8, not 7"):
        Records(path, RUN)


def test_a_run_has_one_arithmetic(tmp_path):
    path, bf16 = tmp_path / "out.jsonl", F32 | {"INFERENCE_PRECISION_HINT": "bf16"}
    whole = written(path, 1)
    records = Records(path, RUN)
    with pytest.raises(
        Problem, match=r"is of a run with INFERENCE_PRECISION_HINT f32, not bf16: name no other precision"
    ):
        records.begin(bf16)
    with pytest.raises(Problem, match="is of a run with KV_CACHE_PRECISION f16, not none: name"):
        records.begin({"INFERENCE_PRECISION_HINT": "f32"})
    records.close()
    path.write_bytes(whole + json.dumps({"run": RUN, "properties": bf16, **record(2)}).encode() + b"\n")
    with pytest.raises(Problem, match="line 2 is of another run; different: the device's arithmetic: give"):
        Records(path, RUN)


def test_records_of_an_earlier_version_stay_and_the_line_says_what_to_do(tmp_path):
    path = tmp_path / "out.jsonl"
    for run in ("0123456789abcdef", RUN):
        path.write_text(json.dumps({"run": run, **record(1)}) + "\n")
        with pytest.raises(Problem, match=r"line 1 is of an earlier version, .*: finish it with that version, or give"):
            Records(path, RUN)
        assert json.loads(path.read_text())["run"] == run


def test_two_cannot_write_at_once_and_a_folder_cannot_be_written(tmp_path):
    first = Records(tmp_path / "out.jsonl", RUN)
    with pytest.raises(Problem, match="another process is writing it"):
        Records(tmp_path / "out.jsonl", RUN)
    first.close()
    with pytest.raises(Problem, match="cannot be written: "):
        Records(tmp_path, RUN)
