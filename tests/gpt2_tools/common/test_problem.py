"""problem: every tool gives one line for every package's Problem, and a traceback for anything else."""

import pytest

import gpt2_recipe
import gpt2_text_prediction
import omz_model_tools.common
from gpt2_tools.benchmark import cli as benchmark
from gpt2_tools.benchmark import modes
from gpt2_tools.common.problem import Problem, guarded
from gpt2_tools.evaluate import cli as evaluate
from gpt2_tools.evaluate.commands import lm_eval
from gpt2_tools.export import cli as export

PROBLEMS = [Problem, gpt2_text_prediction.Problem, gpt2_recipe.Problem, omz_model_tools.common.Problem]


def raising(error):
    def run(*arguments):
        raise error

    return run


def run_tool(monkeypatch, tool, error):
    """Run a tool whose work ends with an error; return its exit code."""
    if tool is evaluate:
        monkeypatch.setattr(lm_eval, "run", raising(error))
        return evaluate.main(["lm-eval"])
    if tool is benchmark:
        monkeypatch.setattr(modes, "run", raising(error))
        return benchmark.main(["-m", "x.xml"])
    monkeypatch.setattr(tool, "_run", raising(error))
    return tool.main(["-m", "x.xml", "-o", "json"])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.__module__)
@pytest.mark.parametrize("tool", [benchmark, evaluate, export], ids=lambda tool: tool.__name__)
def test_every_tool_prints_every_packages_problem_as_one_line(monkeypatch, capsys, tool, problem):
    assert run_tool(monkeypatch, tool, problem("x.xml: is of\nno use")) == 1
    assert capsys.readouterr() == ("", "x.xml: is of no use\n")


def test_anything_else_is_a_bug():
    with pytest.raises(KeyError):
        guarded(raising(KeyError("x")))


def test_an_exit_code_is_passed_on():
    assert guarded(lambda: 3) == 3
