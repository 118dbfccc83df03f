"""workload: rows on gpt-2-mini, whose tokens another engine generates too; shares and checks by hand."""

import pytest

from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import DeviceConfig
from gpt2_tools.benchmark.engine.engine import EngineBenchmark, Generated
from gpt2_tools.benchmark.engine.features import generate
from gpt2_tools.benchmark.engine.workload import Lengths, Turn, measure_lengths, text_checksums
from gpt2_tools.benchmark.figures import Repeats, checksum
from gpt2_tools.common.problem import Problem


@pytest.fixture(scope="module")
def bench(mini_ir):
    return EngineBenchmark(mini_ir, DeviceConfig(precision_hint="f32", num_threads=1))


def test_a_row_for_each_workload_and_what_is_in_it(bench, mini_ir):
    workloads = [Lengths(8, 4), Lengths(16, 3)]
    gigabytes = mini_ir.with_suffix(".bin").stat().st_size / 1e9
    rates = iter(range(1, 100))
    rows = measure_lengths(bench, workloads, Repeats(1, 2), lambda: gigabytes * next(rates), None)
    assert [row.lengths for row in rows] == workloads
    for row, read in zip(rows, [(3, 5), (4, 6)], strict=True):  # in turns, after a warm-up
        figures = row.figures
        assert figures["decode as memory allows"].values == pytest.approx(read)
        shares = [speed / rate for speed, rate in zip(figures["throughput"].values, read, strict=True)]
        assert figures["decode / as memory allows"].values == pytest.approx(shares)
        first = [row.lengths.prompt_tokens * 1000 / ms for ms in figures["first token"].values]
        assert figures["prompt"].values == pytest.approx(first)
        whole = zip(figures["generation"].values, figures["first token"].values, strict=True)
        assert all(generation > token for generation, token in whole)


def test_without_a_meter_and_a_tokenizer_their_figures_are_left_out(bench):
    (row,) = measure_lengths(bench, [Lengths(8, 4)], Repeats(0, 1), None, None)
    assert list(row.figures) == ["first token", "prompt", "time per token", "throughput", "generation"]


def test_the_checksum_is_that_of_the_tokens_that_the_demos_generator_writes(bench, mini_ir):
    (row,) = measure_lengths(bench, [Lengths(8, 12)], Repeats(0, 2), None, None)
    with TextGenerator(mini_ir, precision_hint="f32") as generator:
        _, _, (tokens,) = generate(generator, [bench.prompt(8)], 12)
    assert row.tokens_sha256 == [checksum(tokens)]


def test_texts_that_differ_have_a_checksum_each():
    turns = [Turn(Generated([1.0], [tokens]), None, None) for tokens in ([1, 2], [1, 3], [1, 2])]
    assert text_checksums(turns) == sorted([checksum([1, 2]), checksum([1, 3])])


def test_rows_together_write_what_each_writes_alone(bench):
    together = bench.generate(8, 4, rows=3)
    assert len(together.times) == 4
    assert together.tokens[0] == bench.generate(8, 4).tokens[0]
    assert len({tuple(row) for row in together.tokens}) > 1  # the prompts differ


@pytest.mark.parametrize(
    ("lengths", "line"),
    [
        (Lengths(500, 13), "-p and -M: expected at most 512 tokens together, got 513"),
        (Lengths(8, 1), "-M: expected at least 2 new tokens, got 1"),
    ],
)
def test_lengths_that_cannot_be_run(lengths, line):
    Lengths(500, 12).check(512)
    with pytest.raises(Problem) as caught:
        lengths.check(512)
    assert str(caught.value) == line
