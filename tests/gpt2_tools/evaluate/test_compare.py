"""compare: tables by hand and the numpy oracle give the cost of a candidate; mistakes are one line."""

import hashlib
import json
import math
import os
import re
import subprocess
import tracemalloc

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction.engine.configuration import MOST_KL
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.compare import ModelSpec, joined_windows, load_models, summary, window_differences
from gpt2_tools.evaluate.windows import omz_windows
from support import DATA
from support.bigram import bigram
from support.toy import Toy, without_attention_ops

HELDOUT = DATA / "gpt-2-mini/heldout.txt"
TOY, OTHER = Toy(), Toy(seed=1)
TEXT = "the rats ate the hay; so did another one. " * 4
HALVES, QUARTERS = np.log([[1, 1], [1, 1]]), np.log([[1, 3], [3, 1]])


@pytest.fixture(scope="module")
def irs(tmp_path_factory):
    """Two models of the same vocabulary and shape with other weights."""
    folder = tmp_path_factory.mktemp("irs")
    return TOY.ir(folder / "one"), OTHER.ir(folder / "other")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def evaluate(run):
    return lambda *arguments, **options: run("gpt2_evaluate", "compare", *arguments, **options)


def log_softmax(logits):  # [..., V] -> [..., V]
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def expected_figures(tokens: list[int], context: int) -> dict[str, float]:
    """What the oracle says OTHER costs against TOY."""
    windows = [tokens[start : start + context] for start in range(0, len(tokens) - context + 1, context)]
    labels = np.array([window[1:] for window in windows])
    ours, theirs = (log_softmax(np.array([toy.logits(window)[:-1] for window in windows])) for toy in (TOY, OTHER))
    divergence = (np.exp(ours) * (ours - theirs)).sum(-1)
    losses = [-np.take_along_axis(logprobs, labels[..., None], -1).mean() for logprobs in (ours, theirs)]
    return {
        "perplexity": math.exp(losses[1]),
        "perplexity_ratio": math.exp(losses[1] - losses[0]),
        "kl_mean": divergence.mean(),
        "kl_p99": np.percentile(divergence, 99),
        "kl_max": divergence.max(),
        "same_top": (ours.argmax(-1) == theirs.argmax(-1)).mean(),
    }


def said_by(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode().splitlines()[-1])


def test_the_whole_transcript(evaluate, irs, text):
    one, other = irs
    done = evaluate(one, other, one, "--text", text, "-nthreads", "1")
    said = said_by(done)
    tokens = GPT2Tokenizer(one.parent / "vocab.json", one.parent / "merges.txt").encode(TEXT)
    expected = expected_figures(tokens, 16)
    found, same = said["candidates"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert (same["perplexity_ratio"], same["kl_max"], same["same_top"]) == (1, 0, 1)
    assert said["reference"]["perplexity"] == same["perplexity"]
    size = one.stat().st_size + one.with_suffix(".bin").stat().st_size
    assert said["reference"]["bytes"] == size
    assert (said["tokens"], said["windows"], said["tokens_scored"]) == (
        len(tokens),
        len(tokens) // 16,
        len(tokens) // 16 * 15,
    )
    change = f"{100 * (found['perplexity_ratio'] - 1):+.2f} %"
    divergences = " | ".join(f"{found[name]:.2g}" for name in ("kl_mean", "kl_p99", "kl_max"))
    perplexity, megabytes = said["reference"]["perplexity"], f"{size / 1e6:.1f}"
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    groups = said["reference"]["dynamic_quantization_group_size"]
    lines = done.stdout.decode().splitlines()[:-1]
    assert re.fullmatch(r"time             \d+\.\d s", lines.pop())
    assert lines == [
        "| Model | MB | Perplexity | Against the reference | KL, mean | KL, 99th percentile | KL, largest "
        "| Same first choice |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| `{one}` | {megabytes} | {perplexity:.2f} | reference |  |  |  |  |",
        f"| `{other}` | {megabytes} | {found['perplexity']:.2f} | {change} | {divergences} "
        f"| {100 * found['same_top']:.2f} % |",
        f"| `{one}` | {megabytes} | {perplexity:.2f} | +0.00 % | 0 | 0 | 0 | 100.00 % |",
        "",
        f"measured on {said['windows']} disjoint windows of 16 tokens, the rest left out",
        f"text             {text}, SHA-256 {sha256}",
        f"precision        f32, cache f32, dynamic quantization in groups of {groups}",
        f"runtime          openvino {said['versions']['openvino']}, CPU, 1 threads",
    ]


def test_newlines_are_universal_as_open_model_zoo_s(evaluate, irs, text):
    said, content = [], text.read_bytes()
    for newline in (b"\n", b"\r\n"):
        text.write_bytes(content.replace(b" ", newline))
        said.append(said_by(evaluate(*irs, "--text", text)))
    plain, found = said
    assert found["text"]["sha256"] != plain["text"]["sha256"]
    assert (found["tokens"], found["candidates"]) == (plain["tokens"], plain["candidates"])


def test_a_window_is_as_long_as_is_asked_and_not_all_are_read(evaluate, irs, text):
    one, other = irs
    tokens = GPT2Tokenizer(one.parent / "vocab.json", one.parent / "merges.txt").encode(TEXT)
    said = said_by(evaluate(one, other, "--text", text, "--context", "5", "--limit", "3"))
    assert (said["context"], said["windows"], said["tokens_scored"]) == (5, 3, 12)
    assert said["candidates"][0]["kl_mean"] == pytest.approx(expected_figures(tokens[:15], 5)["kl_mean"], rel=1e-4)


def test_a_candidate_may_run_in_another_precision(evaluate, irs, text):
    """bf16 has 8 bits: it is near, and not the same. A CPU without it emulates it, or says f32."""
    one, _ = irs
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    said = said_by(evaluate(one, f"{one}@bf16", "--text", text))
    (found,) = said["candidates"]
    assert found["model"] == f"{one}@bf16"
    runs_bf16 = found["inference_precision"] == "bf16"
    assert runs_bf16 or (found["inference_precision"] == "f32" and not has_bf16)
    assert said["reference"]["inference_precision"] == "f32"
    assert 1e-7 < found["kl_mean"] < 0.1 if runs_bf16 else found["kl_mean"] == 0


def test_a_name_with_an_at_sign_is_a_name(evaluate, irs, text, tmp_path):
    copy = tmp_path / "x@home.xml"
    copy.write_bytes(irs[1].read_bytes())
    copy.with_suffix(".bin").write_bytes(irs[1].with_suffix(".bin").read_bytes())
    assert said_by(evaluate(irs[0], copy, "--text", text))["candidates"][0]["model"] == str(copy)


def test_a_candidate_may_have_properties_of_openvino(evaluate, irs, text):
    one, _ = irs
    candidates = [f"{one}@{hint},DYNAMIC_QUANTIZATION_GROUP_SIZE={size}" for hint, size in (("f32", 0), ("auto", 64))]
    found = said_by(evaluate(one, *candidates, "--text", text))["candidates"]
    assert [each["model"] for each in found] == candidates
    assert [each["dynamic_quantization_group_size"] for each in found] == ["0", "64"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("f32,ENABLE_CPU_PINNING", "expected FILE@HINT,KEY=VALUE with each KEY once"),
        ("f32,=1", "expected FILE@HINT,KEY=VALUE with each KEY once"),
        ("f32,A=1,A=2", "expected FILE@HINT,KEY=VALUE with each KEY once"),
        ("f33,A=1", "expected FILE@HINT,KEY=VALUE with a HINT of auto, f32, bf16, f16, device"),
        ("f32,INFERENCE_PRECISION_HINT=bf16", "INFERENCE_PRECISION_HINT: expected it as HINT"),
        ("f32,INFERENCE_NUM_THREADS=1", "INFERENCE_NUM_THREADS: expected it as -nthreads"),
        ("f32,KV_CACHE_PRECISION=u8", "KV_CACHE_PRECISION: has no effect here"),
        ("f32,CACHE_DIR=x", "CACHE_DIR: has no use here"),
    ],
)
def test_properties_that_say_nothing_or_are_said_elsewhere_are_refused(evaluate, irs, text, options, line):
    done = evaluate(irs[0], f"{irs[1]}@{options}", "--text", text)
    assert done.returncode == 2
    assert line in " ".join(done.stderr.decode().split())


@pytest.mark.extras("nncf")
def test_what_auto_chooses_for_this_cpu_costs_no_more_than_its_table_allows(mini_ir, mini_quantized, evaluate):
    """AUTO's bound: mean KL to f32 without dynamic quantization, on the same weights."""
    quantized = [mini_quantized / precision / mini_ir.name for precision in ("FP16-INT8", "FP16-INT4")]
    for ir in (mini_ir, *quantized):
        exact, chosen = f"{ir}@f32,DYNAMIC_QUANTIZATION_GROUP_SIZE=0", f"{ir}@auto"
        (found,) = said_by(evaluate(exact, chosen, "--text", HELDOUT, "--limit", 6))["candidates"]
        assert found["kl_mean"] <= MOST_KL, (ir, found)


@pytest.mark.parametrize("ids", [("?", "?"), ("?", "?", "?"), ("?", 1, "?"), (1, 8), (2, 1, "?"), (1, 1, 8)])
def test_inputs_of_every_shape_and_numbers_by_hand(tmp_path, ids):
    """Of 1/4, 3/4 against 1/2, 1/2 KL is 1/2 log 1/2 twice: 1/2 (log 2 + log 2/3) = 1/2 log 4/3."""
    specs = [ModelSpec(bigram(tmp_path / "x.xml", HALVES)), ModelSpec(bigram(tmp_path / "y.xml", QUARTERS, ids))]
    reference, candidate = load_models(specs, "CPU")
    tokens = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    (first, second), windows, interrupted = compare_all([reference, candidate, reference], tokens, 4)
    assert (windows, interrupted) == (2, False)
    np.testing.assert_allclose(first.divergence, np.full(6, math.log(4 / 3) / 2), rtol=1e-6)
    np.testing.assert_allclose(np.exp(first.candidate), [3 / 4, 1 / 4, 3 / 4, 3 / 4, 1 / 4, 3 / 4], rtol=1e-6)
    np.testing.assert_allclose(first.reference, np.log(np.full(6, 1 / 2)), rtol=1e-6)
    assert summary(second)["kl_max"] == 0
    assert summary(first)["perplexity"] == pytest.approx((4 / 3) ** (4 / 6) * 4 ** (2 / 6))


def compare_all(models, tokens, context):
    parts = window_differences(models[0], models[1:], tokens, omz_windows(len(tokens), context))
    return joined_windows(parts, lambda items: items)


def test_a_model_without_attention_ops_is_the_same_model(tmp_path):
    """An IR of older converters."""
    path = tmp_path / "plain.xml"
    import openvino as ov  # noqa: PLC0415

    ov.save_model(without_attention_ops(TOY.model(tmp_path / "toy")), path, compress_to_fp16=False)
    models = load_models([ModelSpec(TOY.ir(tmp_path / "ir")), ModelSpec(path)], "CPU")
    (found,), _, _ = compare_all(models, np.random.default_rng(0).integers(0, 300, 32), 16)
    assert abs(found.divergence).max() < 1e-8


def test_no_logits_are_copied_whole(tmp_path):
    """4 candidates beside a reference, 500 tokens of 4000 logits, 8 MB: there are two places for them."""
    path = bigram(tmp_path / "x.xml", np.zeros((4000, 4000)), positions=500)
    models = load_models([ModelSpec(path)] * 5, "CPU")
    tokens = np.random.default_rng(0).integers(0, 4000, 1000)
    tracemalloc.start()
    compare_all(models, tokens, 500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 8.1e6 + 40e6  # and slices of 2**19 values in f64


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("broken", [0, 1])
def test_logits_that_are_no_numbers(tmp_path, wrong, broken):
    tables = [HALVES, HALVES.copy()]
    tables[broken] = [[0, 0], [wrong, 0]]
    models = load_models([ModelSpec(bigram(tmp_path / f"{i}.xml", table)) for i, table in enumerate(tables)], "CPU")
    with pytest.raises(Problem) as caught:
        compare_all(models, np.array([0, 1, 0, 1]), 4)
    message = "its logits are not all finite numbers; convert or quantize the model again"
    assert str(caught.value) == f"{models[broken].spec.path}: {message}"


@pytest.mark.parametrize(
    ("content", "arguments", "line"),
    [
        (b"", [], "{text}: is empty; expected a text to score"),
        (b"xyz", [], "{text}: has 3 tokens; expected at least 16, one window: give --context"),
        (b"one\n\xff", [], "{text}: expected UTF-8, got 0xff as byte 1 of line 2 (byte 5 of the file)"),
        (b"xyz", ["--context", "17"], "--context: expected 2 .. 16, the positions of {ir}, got 17"),
        (b"xyz", ["--context", "1"], "--context: expected 2 .. 16, the positions of {ir}, got 1"),
        (b"xyz", ["-d", "TPU"], "device TPU: there is no such device; available: CPU"),
    ],
)
def test_a_users_mistake_is_one_line(evaluate, irs, text, content, arguments, line):
    text.write_bytes(content)
    done = evaluate(*irs, "--text", text, *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines() == [line.format(text=text, ir=irs[0])]


def test_a_reference_of_another_vocabulary(evaluate, irs, text, tmp_path):
    small = Toy(vocab_size=290).ir(tmp_path / "small")
    done = evaluate(small, irs[0], "--text", text)
    assert (done.returncode, done.stdout) == (1, b"")
    message = (
        f"has a vocabulary of 300 tokens, the reference {small} one of 290; compare models with the same vocabulary"
    )
    assert done.stderr.decode() == f"{irs[0]}: {message}\n"


def test_a_tokenizer_of_another_model(evaluate, irs, text, tmp_path):
    Toy(vocab_size=290).write_vocabulary(tmp_path)
    flags = ["--vocab", tmp_path / "vocab.json", "--merges", tmp_path / "merges.txt"]
    done = evaluate(*irs, "--text", text, *flags)
    message = f"{irs[0]}: has 300 tokens, its tokenizer 290; give the model's own files as vocab and merges\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", message)


def test_a_candidate_that_is_not_there(evaluate, irs, text, tmp_path):
    done = evaluate(irs[0], tmp_path / "x.xml", "--text", text)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"{tmp_path}/x.xml: there is no such model file; ")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing on Windows")
def test_ctrl_c_prints_what_there_is_and_says_so(interrupted, mini_ir):
    out = interrupted("gpt2_evaluate", "compare", mini_ir, mini_ir, "--text", HELDOUT)
    said = json.loads(out.splitlines()[-1])
    assert said["interrupted"] is True
    assert 6 <= said["windows"] < 69
    assert said["tokens_scored"] == said["windows"] * 511
    assert f"interrupted: the figures are of {said['windows']} disjoint windows of 512 tokens" in out
