"""benchmark: the whole table on gpt-2-mini beside peers that run, cannot or fail: each figure or its reason."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gpt2_text_prediction.engine import DeviceConfig
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.peers import benchmark
from gpt2_tools.benchmark.peers.benchmark import TableSettings, batch_figures, bound_figures, measure_speed
from gpt2_tools.benchmark.peers.peers import RunSettings, Weights, start_ours
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
    figures = bound_figures({"ours FP16": ir, "ours INT8": ir}, DECODE, runs, [0.004, 0.008])
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
    plan = TableSettings(
        Weights(mini / "gpt2", {"FP16": mini_ir}), DeviceConfig(precision_hint="f32", num_threads=1), 8, 4, 2, 1
    )
    return measure_speed(plan, peers, new_cache(folder / "cache"), RunSettings(1, HANGS_AFTER, said.append)), said


SPEEDS = ("decode", "prefill of 511", "8 prompts at once", "32 prompts at once")
OURS, GOOD, DYING = (f"{name} [f32, cache f16]" for name in ("ours FP16", "fake good", "fake dying"))


def test_who_runs_is_in_every_row_with_its_ratio(table):
    figures = table[0].figures
    assert figures[f"decode, {GOOD}"] == Figure("tokens/s", (2.0, 2.0))  # 3 tokens in 1.5 s
    assert figures[f"prefill of 511, {GOOD}"] == Figure("tokens/s", (255.5, 255.5))
    assert figures[f"8 prompts at once, {GOOD}"] == Figure("tokens/s", (16.0, 16.0))
    assert figures[f"8 prompts at once / one, {GOOD}"] == Figure("x", (8.0, 8.0))
    assert figures[f"32 prompts at once / one, {GOOD}"] == Figure("x", (32.0, 32.0))
    assert figures[f"time per token at a context of 8 .. 12, {GOOD}"] == Figure("ms", (500.0, 500.0))
    assert figures[f"first token after 8, {GOOD}"] == Figure("ms", (500.0, 500.0))
    for name in SPEEDS:
        ours, theirs = figures[f"{name}, {OURS}"].values, figures[f"{name}, {GOOD}"].values
        expected = tuple(a / b for a, b in zip(ours, theirs, strict=True))
        assert figures[f"{name}, {OURS} / {GOOD}"].values == pytest.approx(expected)


def test_the_tokens_of_who_ran_have_a_checksum(table):
    checksums = table[0].tokens_sha256
    assert {OURS, GOOD} <= checksums.keys()
    assert all(len(one) == 64 for one in checksums.values())


def test_what_only_ours_is_measured_at(table):
    names = [name for name in table[0].figures if name.endswith(f", {OURS}")]
    assert {"Python's share of a step", "51 appended to 461 / 512 recomputed", "8 prompts at once / one"} <= {
        name.removesuffix(f", {OURS}") for name in names
    }
    for text in ("summary", "code", "list", "prose"):
        assert len(table[0].figures[f"prompt lookup, {text} / plain, {OURS}"].values) == 2
    assert 0 < table[0].figures[f"Python's share of a step, {OURS}"].median < 100


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")
def test_the_memory_of_each_process(table):
    names = {f"{kind} memory, {who}" for kind in ("resident", "private") for who in (OURS, GOOD)}
    assert names <= table[0].figures.keys()


def test_what_could_not_be_run_is_one_line_each(table):
    measured, said = table
    log = measured.not_run["missing"].partition("; see ")
    assert log[0] == "cannot create its environment: ERROR: No matching distribution found for fake_engine==2.0"
    assert {name: line for name, line in measured.not_run.items() if name != "missing"} == {
        "fake unloadable": "ended with exit code 1: MemoryError: no room",
        "fake quantized": "no INT8 IR of ours to compare it with",
        "fake short [f32, cache f16]": "generated [1] tokens, expected 4 for each of 1 prompts",
        "8 prompts at once, fake single [f32, cache f16]": "one prompt at a time",
        "32 prompts at once, fake single [f32, cache f16]": "one prompt at a time",
        DYING: "ended with exit code 1: could not go on",
    }
    assert "fake unloadable: not run: ended with exit code 1: MemoryError: no room" in said


def test_what_was_measured_before_a_failure_stays(table):
    figures = table[0].figures
    assert f"decode, {DYING}" in figures
    assert "prefill of 511, fake single [f32, cache f16]" in figures
    assert not [name for name in figures if "short" in name or "unloadable" in name]
    assert table[0].versions == {"fake": {"fake_engine": "1.0"}}


def test_what_a_cpu_would_emulate_is_left_out_and_said(monkeypatch, mini, mini_ir, tmp_path, new_cache):
    peer = replace(fake_peer(tmp_path / "runners", {"bf16": "FP16"}), emulated=frozenset({"bf16"}))
    plan = TableSettings(Weights(mini / "gpt2", {"FP16": mini_ir}), DeviceConfig(num_threads=1), 8, 2, 1, 0)
    monkeypatch.setattr(benchmark, "has_bf16", lambda core: False)
    monkeypatch.setattr(benchmark, "_side_by_side", lambda *_: None)
    monkeypatch.setattr(benchmark, "_alone", lambda *_: None)
    run = RunSettings(1, HANGS_AFTER, lambda _: None)
    table = measure_speed(plan, [peer], new_cache(tmp_path / "cache"), run)
    assert table.not_run == {"fake bf16": "this CPU has no instructions for bf16 and would emulate them"}


def test_an_engine_of_ours_that_does_not_run_is_a_problem(mini, mini_ir, tmp_path):
    plan = TableSettings(Weights(mini / "gpt2", {"FP16": mini_ir}), DeviceConfig("TPU", num_threads=1), 8, 4, 1, 0)
    with pytest.raises(Problem, match=r"gpt-2-mini\.xml: ended with exit code 1: .*there is no such device"):
        measure_speed(plan, [], tmp_path, RunSettings(1, HANGS_AFTER, lambda _: None))


def test_our_engines_precision_reaches_it(mini_ir):
    with pytest.raises(PeerFailed, match=r"precision_hint: expected one of auto, f32, .* got str: 'no_such'"):
        start_ours(
            mini_ir, DeviceConfig(precision_hint="no_such", num_threads=1), RunSettings(1, HANGS_AFTER, lambda _: None)
        )


def test_a_process_that_is_gone_has_no_memory():
    assert memory_of(random.Random(0).randrange(2**30, 2**31)) == {}
