"""layer_profile: averages are undone by hand, and a real model's layers are reported by type."""

import json

import pytest

from gpt2_text_prediction.engine import DeviceConfig
from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.engine.layer_profile import PERF_COUNT, LayerTimes, counted_calls, profile_figures, split
from gpt2_tools.benchmark.figures import Repeats
from gpt2_tools.common.problem import Problem


def averages(*calls: dict[str, float]) -> list[LayerTimes]:
    """Return what OpenVINO reports after calls that take these milliseconds."""
    found = []
    for count in range(1, len(calls) + 1):
        kinds = dict.fromkeys(kind for call in calls[:count] for kind in call)
        found.append(LayerTimes({kind: sum(call.get(kind, 0) for call in calls[:count]) / count for kind in kinds}, {}))
    return found


def test_the_prompt_and_a_token_after_it_by_hand():
    trial, prompt, tokens = {"A": 100.0}, {"A": 60.0, "B": 6.0}, [{"A": 3.0, "B": 1.0}, {"A": 5.0, "B": 2.0}]
    calls = averages(trial, prompt, *tokens)
    assert split(calls, 3) == (pytest.approx(prompt), pytest.approx({"A": 4.0, "B": 1.5}))
    assert split(averages(prompt, *tokens), 3) == (pytest.approx(prompt), pytest.approx({"A": 4.0, "B": 1.5}))


def test_a_model_of_ours_is_reported_by_layer_and_its_shares_are_the_whole(mini_ir):
    def load() -> EngineBenchmark:
        return EngineBenchmark(mini_ir, DeviceConfig(properties=PERF_COUNT))

    figures = profile_figures(load, 8, 4, Repeats(0, 2))
    for step in ("first token after 8", "a token"):
        shares = [figure for name, figure in figures.items() if name.startswith(step) and name.endswith("share")]
        assert [sum(one.values[i] for one in shares) for i in range(2)] == pytest.approx([100, 100])
        assert any(name.startswith(f"{step}, FullyConnected") for name in figures)


def test_a_device_that_counts_nothing_is_a_problem(mini_ir):
    with pytest.raises(Problem, match=r"^--profile: the device does not report"):
        profile_figures(lambda: EngineBenchmark(mini_ir, DeviceConfig()), 8, 4, Repeats(0, 1))


def test_calls_are_collected_only_within(mini_ir):
    bench = EngineBenchmark(mini_ir, DeviceConfig(properties=PERF_COUNT))
    with counted_calls() as calls:
        bench.generate(4, 3)
    bench.generate(4, 3)
    assert len(calls) == 3


def test_the_command_prints_it(run, mini_ir):
    done = run("gpt2_benchmark", "-m", mini_ir, "--profile", "-p", "8", "-M", "4", "-n", "1", "-N", "0")
    assert done.returncode == 0, done.stderr.decode()
    *table, last = done.stdout.decode().splitlines()
    figures = json.loads(last)["figures"]
    assert [line.split("  ")[0] for line in table] == list(figures)
    assert any(name.startswith("a token, FullyConnected") for name in figures)
    assert "a token, others, share" in figures
