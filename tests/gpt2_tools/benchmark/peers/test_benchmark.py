"""benchmark: the whole table on gpt-2-mini beside peers that run, cannot or fail: each figure or its reason."""

import random
from pathlib import Path

import openvino as ov
import pytest

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.peers.benchmark import TableSettings, batch_figures, bound_figures, measure_speed
from gpt2_tools.benchmark.peers.peers import OurEngine, RunSettings, Weights, start_ours
from gpt2_tools.benchmark.peers.table import Workload
from gpt2_tools.benchmark.processes.process import memory_of
from gpt2_tools.common.json_process import PeerFailed
from gpt2_tools.common.problem import Problem
from support import HANGS_AFTER
from support.fake_peer import fake_peer

DECODE = Workload("decode", 1, 4, 3)
BATCH = Workload("2 prompts at once", 2, 4, 3)


def test_what_memory_allows_by_hand(tmp_path):
    ir = tmp_path / "gpt-2.xml"
    ir.with_suffix(".bin").write_bytes(bytes(1_000_000))  # 1 MB, which 0.004 GB/s read 4 times a second
    runs = {"ours FP16": [(1.5, 0.5, [[7, 8, 9]]), (1.5, 0.5, [[7, 8, 9]])]}  # 2 tokens/s
    figures = bound_figures({"FP16": ir, "INT8": ir}, DECODE, runs, [0.004, 0.008])
    assert figures == {
        "memory read": Figure("GB/s", (0.004, 0.008)),
        "decode as memory allows, ours FP16": Figure("tokens/s", (4.0, 8.0)),
        "decode / as memory allows, ours FP16": Figure("x", (0.5, 0.25)),
    }


def test_prompts_together_against_one_alone_by_hand():
    row = [[7, 8, 9]]
    together = {"ours FP16": [(2.0, None, row * 2)], "other": [(2.0, None, row * 2)], "gone": []}
    alone = {"ours FP16": [(1.5, 0.5, row)], "gone": [(1.5, 0.5, row)]}
    # 6 tokens in 2 s are 3 tokens/s, 3 tokens in 1.5 s are 2
    assert batch_figures(BATCH, together, alone) == {"2 prompts at once / one, ours FP16": Figure("x", (1.5,))}


@pytest.fixture(scope="module")
def table(tmp_path_factory, mini, mini_ir, new_cache):
    """Measure once beside a peer of many variants and one that cannot be installed; return (table, what was said)."""
    folder, said = tmp_path_factory.mktemp("speed"), []
    variants = dict.fromkeys(("good", "single", "dying", "short", "unloadable"), "FP16") | {"quantized": "INT8"}
    peers = [
        fake_peer(folder / "runners", variants),
        fake_peer(folder / "others", {"good": "FP16"}, "fake_engine==2.0", "missing"),
    ]
    plan = TableSettings(Weights(mini / "gpt2", {"FP16": mini_ir}), OurEngine("CPU", None, 1), 8, 4, 2, 1)
    return measure_speed(plan, peers, new_cache(folder / "cache"), RunSettings(1, HANGS_AFTER, said.append)), said


SPEEDS = ("decode", "prefill of 511", "8 prompts at once")


def test_who_runs_is_in_every_row_with_its_ratio(table):
    figures = table[0].figures
    assert figures["decode, fake good"] == Figure("tokens/s", (2.0, 2.0))  # 3 tokens in 1.5 s
    assert figures["prefill of 511, fake good"] == Figure("tokens/s", (255.5, 255.5))
    assert figures["8 prompts at once, fake good"] == Figure("tokens/s", (16.0, 16.0))
    assert figures["8 prompts at once / one, fake good"] == Figure("x", (8.0, 8.0))
    assert figures["first token after 8, fake good"] == Figure("ms", (500.0, 500.0))
    for name in SPEEDS:
        ours, theirs = figures[f"{name}, ours FP16"].values, figures[f"{name}, fake good"].values
        expected = tuple(a / b for a, b in zip(ours, theirs, strict=True))
        assert figures[f"{name}, ours FP16 / fake good"].values == pytest.approx(expected)


def test_the_tokens_of_who_ran_have_a_checksum(table):
    checksums = table[0].tokens_sha256
    assert {"ours FP16", "fake good"} <= checksums.keys()
    assert all(len(one) == 64 for one in checksums.values())


def test_what_only_ours_is_measured_at(table):
    names = [name for name in table[0].figures if name.endswith(", ours FP16")]
    assert {"Python's share of a step", "51 appended to 461 / 512 recomputed", "8 prompts at once / one"} <= {
        name.removesuffix(", ours FP16") for name in names
    }
    for text in ("summary", "code", "list", "prose"):
        assert len(table[0].figures[f"prompt lookup, {text} / plain, ours FP16"].values) == 2
    assert 0 < table[0].figures["Python's share of a step, ours FP16"].median < 100


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")
def test_the_memory_of_each_process(table):
    names = {f"{kind} memory, {who}" for kind in ("resident", "private") for who in ("ours FP16", "fake good")}
    assert names <= table[0].figures.keys()


def test_what_could_not_be_run_is_one_line_each(table):
    measured, said = table
    log = measured.not_run["missing"].partition("; see ")
    assert log[0] == "cannot create its environment: ERROR: No matching distribution found for fake_engine==2.0"
    assert {name: line for name, line in measured.not_run.items() if name != "missing"} == {
        "fake unloadable": "ended with exit code 1: MemoryError: no room",
        "fake quantized": "no INT8 IR of ours to compare it with",
        "fake short": "generated [1] tokens, expected 4 for each of 1 prompts",
        "8 prompts at once, fake single": "one prompt at a time",
        "fake dying": "ended with exit code 1: could not go on",
    }
    assert "fake unloadable: not run: ended with exit code 1: MemoryError: no room" in said


def test_what_was_measured_before_a_failure_stays(table):
    figures = table[0].figures
    assert "decode, fake dying" in figures
    assert "prefill of 511, fake single" in figures
    assert not [name for name in figures if "short" in name or "unloadable" in name]
    assert table[0].versions == {"fake": {"fake_engine": "1.0"}}


def test_an_engine_of_ours_that_does_not_run_is_a_problem(mini, mini_ir, tmp_path):
    plan = TableSettings(Weights(mini / "gpt2", {"FP16": mini_ir}), OurEngine("TPU", None, 1), 8, 4, 1, 0)
    with pytest.raises(Problem, match=r"gpt-2-mini\.xml: ended with exit code 1: .*there is no such device"):
        measure_speed(plan, [], tmp_path, RunSettings(1, HANGS_AFTER, lambda _: None))


@pytest.mark.skipif(int(ov.get_version()[:4]) < 2026, reason="openvino 2025.0 takes any hint")
def test_our_engines_precision_reaches_the_device(mini_ir):
    with pytest.raises(PeerFailed, match="INFERENCE_PRECISION_HINT"):
        start_ours(mini_ir, OurEngine("CPU", "no_such", 1), RunSettings(1, HANGS_AFTER, lambda _: None))


def test_a_process_that_is_gone_has_no_memory():
    assert memory_of(random.Random(0).randrange(2**30, 2**31)) == {}
