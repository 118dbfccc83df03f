"""Every command of ours, as a process and here: the same exit code and the same text on both streams."""

import subprocess
import sys
import textwrap
from importlib.metadata import distribution, version

import pytest

from support.command import run_here, run_process

OURS = [entry.name for entry in distribution("omz-gpt2").entry_points if entry.group == "console_scripts"]


def test_there_are_commands():
    assert len(OURS) >= 10


@pytest.mark.parametrize("name", OURS)
def test_a_process_is_what_the_others_tests_run_here(name):
    """What argparse refuses, so that it goes through the entry point, the arguments and the exit code, and is quick."""
    process, here = (run(name, "--versoin") for run in (run_process, run_here))
    assert (process.returncode, process.stdout) == (2, b"")
    assert process.stderr.decode() == f"{name}: error: --versoin: unknown flag; did you mean --version?\n"
    assert (here.returncode, here.stdout, here.stderr) == (2, b"", process.stderr)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gpt2_evaluate --modle x", "gpt2_evaluate: error: --modle: unknown flag; gpt2_evaluate -h lists them\n"),
        (
            "gpt2_evaluate perplexity --txt x",
            "gpt2_evaluate perplexity: error: --txt: unknown flag; did you mean --t",
        ),
        ("gpt2_export -z", "gpt2_export: error: -z: unknown flag; gpt2_export -h lists them\n"),
        ("gpt2_text_prediction_demo -promt_file x", "-promt_file: unknown flag; did you mean --prompt_file?\n"),
        (
            "gpt2_text_prediction_demo -i --hello",
            "-i: expected a value, got --hello; one that begins with - is --inp",
        ),
        ("omz_downloader --name -x", "--name: expected a value, got -x; one that begins with - is --name=-x\n"),
        ("gpt2_benchmark --growth 9999999999", "expected a whole number from 1 to 999999999, got '9999999999'\n"),
        ("gpt2_text_prediction_demo -n5 --temp -1 -m x.xml -i x", "x.xml: there is no such model file"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, line, message):
    done = run_here(*line.split(), cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", OURS)
def test_every_command_has_a_version(name):
    done = run_here(name, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {version('omz-gpt2')}\n".encode(), b"")


HEAVY = {"huggingface_hub", "numpy", "onnx", "openvino", "requests", "tokenizers", "torch", "tqdm", "transformers"}


@pytest.mark.parametrize("name", OURS)
def test_help_imports_nothing_heavy(name):
    (entry,) = [entry for entry in distribution("omz-gpt2").entry_points if entry.name == name]
    package, _, function = entry.value.partition(":")
    program = f"""
        import atexit, sys
        sys.argv = [{name!r}, "-h"]
        atexit.register(lambda: print(sorted({HEAVY} & sys.modules.keys()), len(sys.modules), file=sys.stderr))
        from {package} import {function}
        {function}()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {name} ")
    found, _, count = done.stderr.rpartition(" ")
    assert found == "[]"
    assert int(count) < 320  # Python's own argparse, pathlib and typing make about 170


@pytest.mark.extras("argcomplete")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("omz_downloader --na", "--name "),
        ("omz_downloader --name gpt-2-m", "gpt-2-medium gpt-2-mini"),
        ("omz_data_downloader --name lam", "lambada "),
        ("gpt2_evaluate per", "perplexity "),
        ("gpt2_evaluate perplexity --lim", "--limit "),
        ("gpt2_text_prediction_demo --top", "--top_k --top_p"),
        ("gpt2_text_prediction_demo --precision_hint b", "bf16 "),
        ("gpt2_classify --no_such", ""),
    ],
)
def test_the_shell_completes(tmp_path, line, expected):
    """As argcomplete's shell function asks; the answer goes to a file in place of the shell's descriptor 8."""
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": " ", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    run_process(line.split()[0], cwd=tmp_path, env={**asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "answer")})
    assert (tmp_path / "answer").read_text() == expected


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
