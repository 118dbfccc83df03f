"""json_process: one that answers, and the many ways to fail: each is one line. The processes are real."""

import sys

import pytest

from gpt2_tools.common.json_process import CannotRun, JsonProcess, PeerFailed, run_to_end

READY = 'import json, sys\nprint(json.dumps({"versions": {}}), flush=True)\n'
ECHO = READY + 'for line in sys.stdin:\n    print(json.dumps({"heard": json.loads(line)}), flush=True)\n'
ENOUGH = 60.0


def peer(source: str, patience: float = ENOUGH) -> JsonProcess:
    return JsonProcess([sys.executable, "-c", source], patience)


def test_it_answers_again_and_again():
    with peer(ECHO) as process:
        assert process.first == {"versions": {}}
        assert [process.ask({"n": n}) for n in range(3)] == [{"heard": {"n": n}} for n in range(3)]


def test_it_is_gone_when_it_is_closed():
    with peer(ECHO) as process:
        pass
    with pytest.raises((PeerFailed, ValueError)):
        process.ask({})


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("raise SystemExit(3)", "ended with exit code 3: no message"),
        ("import nothing_of_that_name", "ended with exit code 1: ModuleNotFoundError: No module named 'nothing_of_"),
        ("print('Loading weights: 100%')", "expected a line with a JSON object, got 'Loading weights: 100%'"),
        ("print('[1, 2]')", "expected a line with a JSON object, got '[1, 2]'"),
        ("print()", "expected a line with a JSON object, got ''"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 10]))", "expected a line with a JSON object, got "),
        ("print('x' * 1000)", "expected a line with a JSON object, got '" + 80 * "x" + "'"),
    ],
)
def test_one_that_does_not_load_is_one_line(source, line):
    with pytest.raises(PeerFailed) as failed:
        peer(source)
    assert str(failed.value).startswith(line)
    assert len(str(failed.value).splitlines()) == 1


def test_one_that_hangs_is_ended():
    with pytest.raises(PeerFailed, match=r"^gave no answer within 0\.5 s$"):
        peer("import time\ntime.sleep(1000)", patience=0.5)


@pytest.mark.parametrize(
    ("then", "line"),
    [
        ("sys.stdin.readline()\nraise MemoryError('no room')\n", "ended with exit code 1: MemoryError: no room"),
        ("sys.stdin.readline()\nprint('nonsense')\n", "expected a line with a JSON object, got 'nonsense'"),
        ("sys.stdin.close()\nsys.exit('done for')\n", "ended with exit code 1: done for"),
    ],
)
def test_one_that_fails_later_is_one_line(then, line):
    with peer(READY + then) as process, pytest.raises(PeerFailed) as failed:
        process.ask({})
    assert str(failed.value) == line


def test_what_a_peer_is_not_made_for_leaves_it_running():
    answer = '{"cannot": "one at a time"} if "8" in line else {}'
    source = f"{READY}for line in sys.stdin:\n    print(json.dumps({answer}), flush=True)\n"
    with peer(source) as process:
        with pytest.raises(CannotRun, match=r"^one at a time$"):
            process.ask({"prompts": 8})
        assert process.ask({"prompts": 1}) == {}


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(PeerFailed, match=r"python: cannot be run: No such file or directory$"):
        JsonProcess([str(tmp_path / "python")], ENOUGH)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("raise ValueError('that is no checkpoint')", "exit code 1: ValueError: that is no checkpoint"),
        ("raise SystemExit(2)", "exit code 2: no message"),
        ("import time; time.sleep(1000)", "did not end within 0.5 s"),
    ],
)
def test_a_command_that_fails_is_one_line(source, line):
    patience = 0.5 if "sleep" in source else ENOUGH
    with pytest.raises(PeerFailed) as failed:
        run_to_end([sys.executable, "-c", source], patience)
    assert str(failed.value).partition(": ")[2] == line


def test_a_command_that_ends_well_says_nothing():
    run_to_end([sys.executable, "-c", "print(1)"], ENOUGH)


def test_a_command_that_is_not_there(tmp_path):
    with pytest.raises(PeerFailed, match="cannot be run: No such file or directory"):
        run_to_end([str(tmp_path / "export")], ENOUGH)
