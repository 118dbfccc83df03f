"""A GPT2ForSequenceClassification: its graph against the oracle, its labels and pad token, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gpt2_recipe import Problem, convert, open_checkpoint
from support.labels import logits, write_classifier
from support.toy import Toy, assert_close, compiled

TOY = Toy(n_head=3, n_embd=12)
LABELS = ("one", "two", "three")
PAD = 7
ROWS = [
    ([3, 1, 4, 1, 5, 9], 5),
    ([3, 1, 4, PAD, PAD, PAD], 2),
    ([3, PAD, PAD, 1, PAD, PAD], 3),  # within the text it is a token like any other
    ([PAD, PAD, 5, 9, 2, 6], 5),
    ([8, PAD, PAD, PAD, PAD, PAD], 0),
    ([PAD] * 6, 0),  # as transformers: the argmax of noughts is the first
]
"""Rows of token ids, and the position whose logits are theirs."""


def facts(folder):
    return convert(folder).facts["omz_gpt2"]


@pytest.mark.parametrize("toy", [TOY, Toy(n_layer=1, activation="relu"), Toy(prefix="transformer.", tied=False)])
def test_a_row_has_the_logits_of_its_last_token_that_is_no_pad_token(tmp_path, toy):
    folder = write_classifier(toy, tmp_path, LABELS, PAD)
    if not toy.tied:
        weights = load_file(folder / "model.safetensors")
        save_file({n: w for n, w in weights.items() if "lm_head" not in n}, folder / "model.safetensors")
    got = compiled(convert(folder).model)([np.array([row for row, _ in ROWS])])[0]
    assert_close(got, np.array([logits(toy, 3, row)[position] for row, position in ROWS]))


def test_without_a_pad_token_it_is_the_last_token_of_each_row(tmp_path):
    folder = write_classifier(TOY, tmp_path, LABELS, None)
    got = compiled(convert(folder).model)([np.array([row for row, _ in ROWS])])[0]
    assert_close(got, np.array([logits(TOY, 3, row)[-1] for row, _ in ROWS]))
    assert "pad_token_id" not in facts(folder)
    assert any("has no pad_token_id" in note for note in convert(folder).notes)


def test_rt_info_has_the_task_the_labels_in_the_order_of_their_ids_and_the_pad_token(tmp_path):
    names = [f"label {i} é\n" for i in range(12)]
    folder = write_classifier(TOY, tmp_path, names, PAD)
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    config["id2label"] = dict(sorted(config["id2label"].items()))  # "0", "1", "10", "11", "2"
    path.write_text(json.dumps(config))
    found = facts(folder)
    assert (found["task"], json.loads(found["labels"]), found["pad_token_id"]) == ("classification", names, PAD)
    assert "problem_type" not in found


@pytest.mark.parametrize(
    ("fields", "labels"),
    [({}, ["LABEL_0", "LABEL_1"]), ({"num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"])],
)
def test_labels_that_config_json_does_not_name_are_transformers_own(tmp_path, fields, labels):
    assert json.loads(facts(write_classifier(TOY, tmp_path, None, PAD, **fields))["labels"]) == labels


def test_labels_with_probabilities_of_their_own_are_a_fact(tmp_path):
    folder = write_classifier(TOY, tmp_path / "a", LABELS, PAD, problem_type="multi_label_classification")
    assert facts(folder)["problem_type"] == "multi_label_classification"
    assert facts(write_classifier(TOY, tmp_path / "b", ["reward"], PAD))["problem_type"] == "multi_label_classification"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"problem_type": "regression"}, '"problem_type": expected single_label_classification or multi_label_'),
        ({"pad_token_id": 300}, '"pad_token_id": expected a token id below 300 or null, got 300'),
        ({"pad_token_id": -1}, '"pad_token_id": expected a token id below 300 or null, got -1'),
        ({"num_labels": 4}, '"num_labels": expected 3, as id2label has, got 4'),
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, '"id2label": expected the ids 0 .. 2, got no 1'),
        ({"id2label": {"0": 1}}, '"id2label": expected an object of names by id, got'),
        ({"id2label": {}}, '"id2label": expected an object of names by id, got'),
        ({"id2label": None, "num_labels": 0}, '"num_labels": expected a whole number from 1, got 0'),
        ({"id2label": None, "num_labels": 5}, r"misshapen: score.weight (expected [5, 12], got [3, 12])"),
        ({"id2label": {"0": "a", "1": "b"}}, r"misshapen: score.weight (expected [2, 12], got [3, 12])"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, fields, line):
    folder = write_classifier(TOY, tmp_path, LABELS, PAD)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))
    with pytest.raises(Problem) as caught:
        convert(folder)
    assert line in str(caught.value)


def test_a_config_of_a_classifier_without_its_head_is_refused(tmp_path):
    folder = write_classifier(TOY, tmp_path, LABELS, PAD)
    TOY.write(tmp_path / "bare")
    (folder / "model.safetensors").write_bytes((tmp_path / "bare/model.safetensors").read_bytes())
    with pytest.raises(Problem, match=r"missing: score\.weight"):
        convert(folder)


def test_whoever_wants_a_language_model_is_given_none(tmp_path):
    folder = write_classifier(TOY, tmp_path, LABELS, PAD)
    with pytest.raises(Problem, match="expected a language model, got GPT2ForSequenceClassification: its score"):
        open_checkpoint(folder)
