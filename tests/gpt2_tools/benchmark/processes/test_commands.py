"""commands: the demo is measured as the engine is, with the same settings."""

import pytest

from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_tools.benchmark import modes
from gpt2_tools.benchmark.arguments import parse
from gpt2_tools.benchmark.figures import Repeats
from gpt2_tools.benchmark.processes import commands
from gpt2_tools.benchmark.processes.process import ProcessRun


@pytest.mark.parametrize("options", [[], ["-nthreads", "1", "--precision_hint", "bf16", "-d", "AUTO"]])
def test_the_demo_runs_with_the_settings_of_the_engine(monkeypatch, tmp_path, options):
    started = []

    def note(command: list[str]) -> ProcessRun:
        started.append(command)
        return ProcessRun(1.0, None)

    monkeypatch.setattr(commands, "run_process", note)
    args = parse(["-m", str(tmp_path / "x.xml"), *options])
    commands.process_figures(args.model, modes._config_of_demo(args), Repeats(0, 1), lambda line: None)
    ((_, *arguments),) = started
    given = build_argparser().parse_args(arguments)
    assert (given.model, given.device) == (args.model, args.device)
    assert (given.num_threads, given.precision_hint) == (args.num_threads, args.precision_hint)
