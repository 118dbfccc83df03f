"""accuracy_check_yml: our configs and Open Model Zoo's are read, anything unknown is named, numpy judges toys."""

import csv
import json
import math
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.accuracy_check_yml import DEFINITIONS, Check, DatasetSource, Metric, read_config
from gpt2_tools.evaluate.commands.accuracy_check import find_model
from omz_model_tools.common.problem import Problem as FileProblem
from support import TESTS
from support.toy import Toy

PUBLIC = Path(str(files("omz_models"))) / "public"
TOY = Toy()
TEXT = "the rats ate the hay; so did another one.\n" * 3
CONFIG = """\
models:
  - name: toy
    launchers:
      - framework: dlsdk
        adapter: common_language_modeling
    datasets:
      - name: hay
        annotation_conversion:
          converter: wikitext2raw
          testing_file: x.txt
          vocab_file: vocab.json
          merges_file: merges.txt
          max_seq_length: 16
        metrics:
          - type: perplexity
"""
OMZ = """\
models:
  - name: gpt-2-onnx
    launchers:
      - framework: onnx_runtime
        model: gpt-2.onnx
    datasets: &none []
  - name: gpt-2
    launchers:
      - framework: dlsdk
        adapter:
          type: common_language_modeling
          logits_output: "output"
        inputs:
          - name: "input"
            type: INPUT
            value: "input_ids"
            precision: I32
    datasets:
      - name: WikiText_2_raw_gpt2
        reader:
          type: annotation_features_extractor
          features:
            - input_ids
        metrics:
          - type: 'perplexity'
            name: 'Perplexity'
            reference: 0.29
""".replace(" &none []", "\n      - name: WikiText_2_raw_gpt2\n        metrics: [{type: perplexity}]")
"""After Open Model Zoo's own file for gpt-2."""


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory):
    """Return a folder in which the IR of a toy lies as omz_converter leaves it."""
    folder = tmp_path_factory.mktemp("zoo")
    ir = TOY.ir(folder / "public/toy/FP32")
    for suffix in (".xml", ".bin"):
        ir.with_suffix(suffix).rename(ir.with_name(f"toy{suffix}"))
    return folder


@pytest.fixture
def check(run, toy_folder, tmp_path):
    """Return a function that runs the command on a config beside the text."""
    (tmp_path / "x.txt").write_text(TEXT, encoding="utf-8", newline="")

    def run_check(config: str, *arguments):
        (tmp_path / "accuracy-check.yml").write_text(config)
        given = ["-c", tmp_path / "accuracy-check.yml", "-m", toy_folder, "-s", tmp_path]
        return run("gpt2_evaluate", "accuracy-check", *given, *arguments, cwd=tmp_path)

    return run_check


@pytest.fixture(scope="module")
def value(toy_folder) -> float:
    """Return a hundredth of the perplexity by the numpy oracle."""
    folder = toy_folder / "public/toy/FP32"
    tokens = GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt").encode(TEXT)
    means = []
    for start in range(0, len(tokens) - 15, 16):
        window = tokens[start : start + 16]
        rows = TOY.logits(window)[:-1]
        rows = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
        means.append(-rows[np.arange(15), window[1:]].mean())
    return math.exp(np.mean(means)) / 100


def write(folder: Path, text: str) -> Path:
    path = folder / "accuracy-check.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(PUBLIC.glob("*/accuracy-check.yml")), ids=lambda path: path.parent.name)
def test_the_packaged_configs(path):
    (found,) = read_config(path)
    assert found.model == path.parent.name
    assert found.framework == "dlsdk"
    assert (found.source.vocab_file, found.source.merges_file) == ("vocab.json", "merges.txt")
    (metric,) = found.metrics
    expected = {"gpt-2": (0.29, 1024), "gpt-2-mini": (0.8433, 512)}.get(path.parent.name, (None, 1024))
    assert (metric.reference, found.source.max_seq_length) == expected


def test_there_are_packaged_configs():
    assert len(list(PUBLIC.glob("*/accuracy-check.yml"))) == 6


def test_open_model_zoos_own(tmp_path):
    """A launcher of another framework is passed over where one is asked for, and refused where not."""
    path = write(tmp_path, OMZ)
    metric = Metric("Perplexity", "perplexity", 0.29)
    source = DatasetSource("wikitext-2-raw/wiki.test.raw", "gpt2/gpt2-vocab.json", "gpt2/gpt2-merges.txt", 1024)
    expected = Check("gpt-2", "dlsdk", "WikiText_2_raw_gpt2", source, (metric,))
    assert read_config(path, ["dlsdk"]) == [expected]
    with pytest.raises(FileProblem) as caught:
        read_config(path)
    place = f'{path}: models[0]: launchers[0]: "framework"'
    assert str(caught.value) == f"{place}: expected one of dlsdk, openvino, got 'onnx_runtime'"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("perplexity", "bleu", "metrics[0]: \"type\": expected one of perplexity, got 'bleu'"),
        ("common_language_modeling", "ssd", "\"adapter\": expected one of common_language_modeling, got 'ssd'"),
        ("wikitext2raw", "imagenet", "\"converter\": expected one of wikitext2raw, got 'imagenet'"),
        ("framework: dlsdk", "framework: tf", "expected one of dlsdk, openvino, got 'tf'"),
        ("framework: dlsdk", "device: CPU", "expected one of dlsdk, openvino, got nothing"),
        ("- type: perplexity", "- perplexity", "metrics[0]: expected a mapping, got 'perplexity'"),
        (
            "max_seq_length: 16",
            "max_seq_length: many",
            "\"max_seq_length\": expected a non-negative integer, got 'many'",
        ),
        ("max_seq_length: 16", "", '"max_seq_length": expected a value, got no such key'),
        ("type: perplexity", "{type: perplexity, reference: .nan}", "expected a non-negative number, got nan"),
        ("type: perplexity", "{type: perplexity, treshold: 1}", '"treshold": unknown key, expected one of: '),
        ("- type: perplexity", "[]", "expected at least one metric, got []"),
        ("models:", "evaluations:", '"evaluations": unknown key, expected one of: models'),
        (CONFIG, "models: []", "expected at least one model, got none"),
        (CONFIG, "models: [", "line 1: not valid YAML: "),
    ],
)
def test_what_is_not_known_is_named(tmp_path, old, new, message):
    path = write(tmp_path, CONFIG.replace(old, new))
    with pytest.raises(FileProblem) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_data_set_without_a_definition(tmp_path):
    path = write(tmp_path, OMZ.replace("WikiText_2_raw_gpt2", "SQuAD"))
    with pytest.raises(FileProblem, match=f"expected one of {', '.join(DEFINITIONS)}, got 'SQuAD'$"):
        read_config(path, ["dlsdk"])


@pytest.mark.parametrize(
    ("metric", "value", "passes"),
    [
        (Metric("x", "perplexity"), 0.3, None),
        (Metric("x", "perplexity", 0.29), 0.29009, True),  # 29.009: within the last digit of 29.00
        (Metric("x", "perplexity", 0.29), 0.28989, False),
        (Metric("x", "perplexity", 0.5, abs_threshold=0.25), 0.75, True),
        (Metric("x", "perplexity", 0.5, abs_threshold=0.25), 0.76, False),
        (Metric("x", "perplexity", 0.5, rel_threshold=0.5), 0.25, True),
        (Metric("x", "perplexity", 0.5, rel_threshold=0.5), 0.24, False),
        (Metric("x", "perplexity", 0.5, 0.25, 0.125), 0.6, False),
        (Metric("x", "perplexity", 0.5, 0.0, 0.0), 0.5, True),
    ],
)
def test_judging_by_hand(metric, value, passes):
    assert metric.passes(value) is passes


def test_a_difference_has_a_sign():
    assert Metric("x", "perplexity", 0.5).difference(0.25) == -0.25
    assert Metric("x", "perplexity").difference(0.25) is None


def test_a_model_is_found_by_its_name(toy_folder, tmp_path):
    ir = toy_folder / "public/toy/FP32/toy.xml"
    assert find_model(ir, "toy") == find_model(ir.parent, "toy") == find_model(toy_folder, "toy") == ir
    with pytest.raises(Problem, match=r"expected other.xml, or public/other/PRECISION/other.xml, got neither"):
        find_model(toy_folder, "other")
    for precision in ("FP32", "FP16"):
        (tmp_path / f"public/toy/{precision}").mkdir(parents=True)
        (tmp_path / f"public/toy/{precision}/toy.xml").touch()
    with pytest.raises(Problem) as caught:
        find_model(tmp_path, "toy")
    first = tmp_path / "public/toy/FP16"
    assert str(caught.value) == f"{tmp_path}: has toy as FP16, FP32; give the folder of one, such as -m {first}"


def test_a_metric_that_passes(check, value, tmp_path):
    reference = round(value, 2)
    thresholds = "            abs_threshold: 1.0\n            rel_threshold: 0.001\n"
    done = check(f"{CONFIG}            reference: {reference}\n{thresholds}", "--csv_result", "r.csv")
    assert done.returncode == 0, done.stderr.decode()
    line, last = done.stdout.decode().splitlines()
    said = json.loads(last)
    (result,), (made,) = said["results"], said["runs"]
    assert result["metric_value"] == pytest.approx(value, rel=1e-4)
    assert result["difference"] == pytest.approx(result["metric_value"] - reference)
    message = (
        f"perplexity {result['metric_value']:.4f}, reference {reference:.4f}, difference {result['difference']:+.4f}"
    )
    assert line == f"toy, dlsdk, CPU, hay: {message}: pass"
    assert made["perplexity"] == pytest.approx(100 * value, rel=1e-4)
    assert (made["method"], made["context"], made["inference_precision"]) == ("omz", 16, "f32")
    with (tmp_path / "r.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row == {name: "" if entry is None else str(entry) for name, entry in result.items()}
    assert row["result"] == "pass"
    assert not (tmp_path / ".r.csv.new").exists()


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_newlines_are_universal(check, value, tmp_path, newline):
    (tmp_path / "x.txt").write_text(TEXT, encoding="utf-8", newline=newline)
    done = check(f"{CONFIG}            reference: {value}\n            rel_threshold: 0.0001\n")
    assert done.returncode == 0, done.stdout.decode()


def test_a_metric_that_fails(check, value):
    done = check(f"{CONFIG}            reference: {2 * value}\n")
    assert done.returncode == 1
    line, last = done.stdout.decode().splitlines()
    assert line.endswith(": fail")
    assert json.loads(last)["results"][0]["difference"] == pytest.approx(-value, rel=1e-4)


def test_without_a_reference_nothing_is_judged(check):
    done = check(CONFIG)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[0].endswith(": no reference")


def test_a_part_of_the_text_is_not_judged(check):
    done = check(f"{CONFIG}            reference: 0.1\n", "--limit", "1")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[0].endswith(": not judged")
    assert json.loads(done.stdout.splitlines()[-1])["results"][0]["dataset_size"] == 1


@pytest.mark.parametrize(
    ("config", "arguments", "line"),
    [
        (CONFIG, ["-c", "none.yml"], "none.yml: No such file or directory"),
        (CONFIG, ["-s", "nowhere"], "nowhere/x.txt: No such file or directory"),
        (CONFIG.replace("h: 16", "h: 64"), [], "max_seq_length: expected 2 .. 16, the positions of"),
        (CONFIG.replace("type: perplexity", "type: bleu"), [], "expected one of perplexity, got 'bleu'"),
        (CONFIG.replace("dlsdk", "caffe"), [], "expected one of dlsdk, openvino, got 'caffe'"),
        (CONFIG, ["-tf", "openvino"], "expected at least one launcher of the framework openvino, got none"),
        (CONFIG, ["-m", "nowhere"], "nowhere: expected toy.xml, or public/toy/PRECISION/toy.xml, got neither"),
        (CONFIG, ["--csv_result", "nowhere/r.csv"], "nowhere/r.csv: expected a file in an existing folder"),
    ],
)
def test_a_users_mistake_is_one_line(check, config, arguments, line):
    done = check(config, *arguments)
    assert done.returncode == 1
    lines = [text for text in done.stderr.decode().splitlines() if not text.endswith(" left")]
    assert len(lines) == 1
    assert line in lines[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_csv_file_that_would_replace_a_pipe_is_refused_before_measuring(check, tmp_path):
    os.mkfifo(tmp_path / "r.csv")
    done = check(CONFIG, "--csv_result", "r.csv")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"r.csv: expected a file or nothing, got a pipe or a device; ")
    assert (tmp_path / "r.csv").is_fifo()


def test_gpt_2_minis_reference_and_the_page_that_shows_it(run, mini_ir):
    """The whole of the held-out text, as docs/evaluate.md has it."""
    here = TESTS
    config = PUBLIC / "gpt-2-mini/accuracy-check.yml"
    given = ["-c", config, "-m", mini_ir.parent, "-s", here / "data/gpt-2-mini"]
    done = run("gpt2_evaluate", "accuracy-check", *given)
    assert done.returncode == 0, done.stderr.decode()
    line, last = done.stdout.decode().splitlines()
    page = (here.parent / "docs/evaluate.md").read_text(encoding="utf-8")
    for launcher in ("dlsdk", "openvino"):  # of gpt2_evaluate accuracy-check, of accuracy_check
        assert f"\n{line.replace('dlsdk', launcher)}\n" in page
    (made,) = json.loads(last)["runs"]
    assert f"\nperplexity       {made['perplexity']:.4f} ± {made['perplexity_stderr']:.4f}\n" in page
    assert (made["tokens"], made["windows"], made["tokens_scored"]) == (35465, 69, 35259)
