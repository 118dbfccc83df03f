"""scaling: points by hand, curves on gpt-2-mini. No time is judged."""

import pytest

from gpt2_text_prediction.engine import DeviceConfig
from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.engine.scaling import (
    Curve,
    batch_curve,
    check_room,
    length_curve,
    thread_counts,
    thread_curve,
)
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem

ONCE = Repeats(0, 1)


@pytest.fixture(scope="module")
def load(mini_ir):
    return lambda threads: EngineBenchmark(mini_ir, DeviceConfig(num_threads=threads))


@pytest.fixture(scope="module")
def bench(load):
    return load(1)


def test_a_point_is_named_by_its_place():
    figure = Figure("ms", (1.0,))
    assert Curve("at {x}", "x", "y", {3: figure}).figures() == {"at 3": figure}


def test_lengths_up_to_the_end_of_the_positions(bench):
    points = length_curve(bench, Repeats(0, 2)).points
    assert list(points) == [60, 120, 180, 240, 300, 360, 420, 480]
    assert {(figure.unit, len(figure.values)) for figure in points.values()} == {("ms", 2)}


def test_rows_at_once(bench):
    curve = batch_curve(bench, 8, ONCE)
    assert [*curve.figures()] == [f"throughput, batch {rows}" for rows in (1, 2, 4, 8, 16)]
    assert all(figure.unit == "tokens/s" and figure.median > 0 for figure in curve.points.values())


def test_threads_each_on_an_engine_of_its_own(load):
    loaded = []
    curve = thread_curve(lambda threads: loaded.append(threads) or load(threads), 8, ONCE)
    assert list(curve.points) == loaded
    assert loaded[0] == 1


@pytest.mark.parametrize(
    ("processors", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_powers_of_two_and_all_there_are(processors, counts):
    assert thread_counts(processors) == counts


@pytest.mark.parametrize(
    ("prompt_tokens", "n_positions", "line"),
    [
        (8, 255, "--plot: expected a model of at least 256 positions, got one of 255"),
        (224, 256, "-p: expected at most 223 tokens with --plot, got 224"),
    ],
)
def test_a_model_or_a_prompt_of_no_use(prompt_tokens, n_positions, line):
    check_room(223, 256)
    with pytest.raises(Problem) as caught:
        check_room(prompt_tokens, n_positions)
    assert str(caught.value) == line
