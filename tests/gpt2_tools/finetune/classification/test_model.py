"""model: what a classifier begins with, its pad token, and a classifier to go on from."""

import json

import numpy as np
import pytest

from gpt2_recipe import Problem as RecipeProblem
from gpt2_tools.common.problem import Problem
from support.finetune import TOY

pytestmark = pytest.mark.extras("torch", "transformers", "accelerate", "peft", "matplotlib")


def load(folder):
    from safetensors.numpy import load_file  # noqa: PLC0415

    return load_file(folder / "model.safetensors")


def labels_of(folder):
    """Return the labels in the order of their ids; transformers sorts the keys of config.json as text."""
    names = json.loads((folder / "config.json").read_bytes())["id2label"]
    return [names[str(i)] for i in range(len(names))]


def change(path, **fields):
    path.write_text(json.dumps((json.loads(path.read_bytes()) if path.exists() else {}) | fields))


@pytest.fixture
def classifier(labelled, train):
    """Return a classifier's folder, trained for a step."""
    return train(steps=1, run_name="first").model


def test_the_folder_is_what_transformers_expects(train):
    from transformers import AutoTokenizer, pipeline  # noqa: PLC0415

    done = train(steps=1)
    config = json.loads((done.model / "config.json").read_bytes())
    assert config["architectures"] == ["GPT2ForSequenceClassification"]
    assert config["label2id"] == {"calm": 0, "loud": 1, "odd": 2}
    assert load(done.model)["score.weight"].shape == (3, TOY.n_embd)
    assert {name.partition(".")[0] for name in load(done.model)} == {"transformer", "score"}
    assert AutoTokenizer.from_pretrained(done.model).pad_token == "<|endoftext|>"
    classify = pipeline("text-classification", model=str(done.model), batch_size=2)
    assert {found["label"] for found in classify(["hen", "storm storm"])} <= set(config["label2id"])


def test_the_head_is_new_from_the_seed_and_the_rest_is_the_models(labelled, train):
    heads = []
    for seed in (0, 0, 1):
        done = train(steps=1, learning_rate=1e-12, seed=seed, run_name=f"r{len(heads)}")
        found, start = load(done.model), load(labelled / "toy")
        for name, tensor in start.items():
            np.testing.assert_allclose(found[f"transformer.{name}"], tensor, atol=1e-10)
        heads.append(found["score.weight"])
    np.testing.assert_array_equal(heads[0], heads[1])
    assert np.abs(heads[0] - heads[2]).max() > 1e-3


def test_a_classifier_goes_on_with_its_head(labelled, train, classifier):
    done = train(model=str(classifier), steps=1, learning_rate=1e-12)
    before, after = load(classifier), load(done.model)
    assert set(before) == set(after)
    for name, tensor in before.items():
        np.testing.assert_allclose(after[name], tensor, atol=1e-10)
    with pytest.raises(Problem, match=r"--model: .* was begun with"):
        train(model=str(labelled / "toy"), steps=2)


def test_its_labels_keep_their_order(train, classifier):
    change(classifier / "config.json", id2label={"0": "odd", "1": "calm", "2": "loud"})
    done = train(model=str(classifier), steps=1)
    assert labels_of(done.model) == ["odd", "calm", "loud"]


def test_labels_without_names_are_those_of_the_data(train, classifier):
    change(classifier / "config.json", id2label={str(i): f"LABEL_{i}" for i in range(3)})
    done = train(model=str(classifier), steps=1)
    assert labels_of(done.model) == ["calm", "loud", "odd"]


def test_labels_that_do_not_fit_are_refused(labelled, train, classifier):
    path = labelled / "texts.csv"
    path.write_text(path.read_text().replace(",odd", ",calm"))
    line = "model has 3 labels: calm, loud, odd; .*texts.csv has 2: calm, loud; expected the same; to begin w"
    with pytest.raises(Problem, match=line):
        train(model=str(classifier), steps=1)
    change(classifier / "config.json", id2label={"0": "calm", "1": "loud"})
    with pytest.raises(RecipeProblem, match=r"misshapen: score.weight .expected .2, 16., got .3, 16."):
        train(model=str(classifier), steps=1)
    change(classifier / "config.json", id2label={"0": "calm", "3": "loud"})
    with pytest.raises(RecipeProblem, match=r'config.json: "id2label": expected the ids 0 .. 1, got no 1'):
        train(model=str(classifier), steps=1)
    (classifier / "model.safetensors").unlink()
    change(classifier / "config.json", id2label={"0": "calm", "1": "loud"})
    with pytest.raises(RecipeProblem, match=r"model.safetensors: cannot be read: there is no such file"):
        train(model=str(classifier), steps=1)


def test_the_tokenizers_pad_token_is_taken(labelled, train):
    change(labelled / "toy/tokenizer_config.json", pad_token="!")
    done = train(steps=1)
    pad = json.loads((done.model / "config.json").read_bytes())["pad_token_id"]
    assert json.loads((labelled / "toy/vocab.json").read_bytes())["!"] == pad
    assert json.loads((done.model / "tokenizer_config.json").read_bytes())["pad_token"] == "!"


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_pad_token_that_is_absent_is_refused(labelled, train, name):
    change(labelled / "toy" / name, pad_token="[PAD]")
    with pytest.raises(Problem) as caught:
        train(steps=1)
    assert str(caught.value).startswith("--model: ")
    assert "[PAD]" in str(caught.value)


def test_a_model_without_an_end_of_text_has_no_pad_token(labelled, train):
    change(labelled / "toy/config.json", eos_token_id=None)
    vocabulary = (labelled / "toy/vocab.json").read_text().replace("<|endoftext|>", "<|none|>")
    (labelled / "toy/vocab.json").write_text(vocabulary)
    with pytest.raises(
        Problem, match="--model: has neither a pad token nor one that ends a text; name one as eos_token"
    ):
        train(steps=1)


def test_a_pad_token_beyond_the_embedding_is_refused(train, classifier):
    change(classifier / "config.json", pad_token_id=300)
    with pytest.raises(RecipeProblem, match='"pad_token_id": expected a token id below 300 or null, got 300'):
        train(model=str(classifier), steps=1)
