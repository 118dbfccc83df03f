"""Every command of ours, as a process and here: the same exit code and the same text on both streams."""

import sys
from importlib.metadata import distribution

import pytest

from support.command import run_here, run_process

OURS = [entry.name for entry in distribution("omz-gpt2").entry_points if entry.group == "console_scripts"]


def test_there_are_commands():
    assert len(OURS) >= 10


@pytest.mark.parametrize("name", OURS)
def test_a_process_is_what_the_others_tests_run_here(name):
    """What argparse refuses, so that it goes through the entry point, the arguments and the exit code, and is quick."""
    process, here = (run(name, "--no_such_flag") for run in (run_process, run_here))
    assert (process.returncode, process.stdout) == (2, b"")
    assert process.stderr.decode().startswith(f"usage: {name} ")
    assert (here.returncode, here.stdout, here.stderr) == (2, b"", process.stderr)


def test_a_problem_of_a_process_is_one_here():
    arguments = ("gpt2_text_prediction_demo", "-m", "nowhere.xml", "-i", "a", "--seed", "1")
    process, here = (run(*arguments) for run in (run_process, run_here))
    assert (process.returncode, process.stdout) == (1, b"")
    assert (here.returncode, here.stdout, here.stderr) == (1, b"", process.stderr)


def test_streams_folder_and_environment_are_its_own(tmp_path, monkeypatch):
    before = (sys.stdin, sys.stdout, sys.stderr, sys.argv)
    monkeypatch.setenv("OMZ_MODELS_DIR", "nowhere")
    done = run_here("omz_info_dumper", "--print_all", cwd=tmp_path, env={"OMZ_MODELS_DIR": ""})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gpt-2-mini\n" in done.stdout
    assert (sys.stdin, sys.stdout, sys.stderr, sys.argv) == before
    assert run_here("omz_info_dumper", "--print_all").stderr.startswith(b"nowhere: ")
