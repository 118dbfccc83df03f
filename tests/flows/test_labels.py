"""From a checkpoint with a head for labels, by every command that takes it or its IR: each runs it or names the way."""

import json
import shutil

import numpy as np
import pytest

from gpt2_text_prediction import Classifier
from support.labels import SPAM

TEXTS = ["Win a prize now", "See you at seven", "The meeting is on Monday in the usual room.", "Free money!!!"]


@pytest.fixture
def quantized(run, spam_filter, tmp_path):
    (tmp_path / "text.txt").write_text("The meeting is on Monday in the usual room. " * 200)
    shutil.copytree(spam_filter / "FP16", tmp_path / "FP16")
    command = ["omz_quantizer", "--model", tmp_path / "FP16/spam-filter.xml"]
    done = run(*command, "--calibration_text", tmp_path / "text.txt", "--group_size", "64", "--scale_estimation")
    assert done.returncode == 0, done.stderr.decode()
    return tmp_path


def test_an_ir_of_labels_has_its_facts(spam_filter):
    for precision in ("FP16", "FP32"):
        with Classifier(spam_filter, precision=precision) as classify:
            assert classify.labels == SPAM
            assert len(classify(TEXTS)) == len(TEXTS)


@pytest.mark.extras("nncf")
def test_quantized_irs_give_nearly_the_same_probabilities(quantized):
    found = {}
    for precision in ("FP16", "FP16-INT8", "FP16-INT4"):
        with Classifier(quantized / precision / "spam-filter.xml", precision_hint="f32") as classify:
            found[precision] = np.array([result.probabilities for result in classify(TEXTS)])
    assert 0 < np.abs(found["FP16-INT8"] - found["FP16"]).max() < 0.05
    assert 0 < np.abs(found["FP16-INT4"] - found["FP16"]).max() < 0.3


@pytest.mark.parametrize(
    "command",
    [
        ["gpt2_text_prediction_demo", "-i", "a", "-m"],
        ["gpt2_evaluate", "perplexity", "--text", "text.txt", "-m"],
        ["gpt2_export", "--format", "genai", "-o", "out", "-m"],
        ["gpt2_export", "--format", "onnx", "-o", "out", "-m"],
        ["gpt2_benchmark", "-n", "1", "-m"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_a_command_for_language_models_names_gpt2_classify(run, spam_filter, tmp_path, command):
    (tmp_path / "text.txt").write_text("The meeting is on Monday. " * 100)
    ir = spam_filter / "FP16/spam-filter.xml"
    done = run(*command, ir, cwd=tmp_path)
    err = done.stderr.decode()
    assert done.returncode == 1, err
    assert f"is a model of labels (classification), which continues no text; run: gpt2_classify -m {ir}" in err
    assert "Traceback" not in err


@pytest.mark.extras("torch", "transformers", "peft")
def test_a_text_is_not_trained_on_the_weights_of_labels(run, spam_filter, tmp_path):
    (tmp_path / "text.txt").write_text("The meeting is on Monday. " * 100)
    done = run("gpt2_finetune", "--model", spam_filter / "checkpoint", "--dataset", "text.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert "expected a language model, got GPT2ForSequenceClassification" in done.stderr.decode()


def test_a_record_of_a_command_is_what_python_says(run, spam_filter, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    arguments = "-m", spam_filter / "FP16/spam-filter.xml", "--file", "in.txt", "-o", "out.jsonl"
    assert run("gpt2_classify", *arguments, cwd=tmp_path).returncode == 0
    with Classifier(spam_filter / "FP16/spam-filter.xml") as classify:
        expected = [(result.label, round(result.score, 6)) for result in classify(TEXTS)]
    records = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert [(record["label"], record["score"]) for record in records] == expected
