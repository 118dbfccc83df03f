"""growth: the tables that it says, with ratios of their own figures, on sizes of one. No time is judged."""

import importlib.util
import json

import pytest

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.growth import Cost, Sizes, _pairs

SMALLEST = 100_000
STAGES = ("samples", "beams", "prompts", "records")
NAMES = [
    *(f"{n} samples, {what}" for what in ("-o", "generate", "-o / generate") for n in (1, 8, 32)),
    *(f"4 beams, 1 tokens, {what}" for what in ("with stops", "without", "with stops / without")),
    "1 prompts of a call, CPU of one",
    "1 prompts of a call, memory",
    "1 records resumed, CPU",
    "1 records resumed, memory",
]


def test_all_four_tables_on_the_smallest_sizes(run, mini_ir):
    done = run("gpt2_benchmark", "-m", mini_ir, "--growth", SMALLEST)
    assert done.returncode == 0, done.stderr.decode()
    *table, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    assert done.stderr.decode().splitlines() == ["loading ...", *(f"{what} ..." for what in STAGES)]
    assert list(said["figures"]) == NAMES
    assert [line.partition("  ")[0] for line in table] == NAMES
    runs = {name: figure["runs"] for name, figure in said["figures"].items()}
    assert {name for name, count in runs.items() if count == 5} == {name for name in NAMES if "beams" in name}
    assert set(runs.values()) == {1, 5}
    assert (said["growth"], said["num_iter"], said["num_warmup"]) == (SMALLEST, 1, 0)
    figures = {name: figure["median"] for name, figure in said["figures"].items()}
    ratio = figures["32 samples, -o"] / figures["32 samples, generate"]
    assert figures["32 samples, -o / generate"] == pytest.approx(ratio, rel=0.05, abs=1e-3)


def test_a_part_of_the_full_sizes_is_at_least_one_and_each_comes_once():
    assert Sizes(1).of((500, 1000)) == [500, 1000]
    assert Sizes(100).of((50, 100, 200, 400)) == [1, 2, 4]
    assert Sizes(7).one(20) == 2


def test_ratios_are_of_the_same_round_by_hand():
    table = _pairs("{x} tokens, %s", "new tokens", ("with", "without"), {10: ([2.0, 9.0], [1.0, 3.0])})
    assert table.ratios == {"10 tokens, with / without": Figure("x", (2.0, 3.0))}
    assert table.figures()["10 tokens, with"] == Figure("ms", (2.0, 9.0))
    assert [(curve.label, curve.x) for curve in table.panels[0]] == [("with", "new tokens"), ("without", "new tokens")]


def test_a_cost_beyond_another_is_the_difference():
    assert Cost(3.0, 250.0).beyond(Cost(1.0, 200.0)) == Cost(2.0, 50.0)


def test_a_picture_that_cannot_be_drawn_is_reported_before_anything_is_measured(run, mini_ir, tmp_path):
    done = run("gpt2_benchmark", "-m", mini_ir, "--growth", "--plot", tmp_path / "a.jpg")
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    if importlib.util.find_spec("matplotlib") is None:
        assert line.endswith("--plot: matplotlib is not installed; run: pip install 'omz-gpt2[plot]'")
    else:
        assert line.endswith(f"--plot: expected a file that ends in .png, .svg, .pdf, got {tmp_path / 'a.jpg'}")
