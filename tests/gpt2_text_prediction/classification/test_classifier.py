"""Classifier: its probabilities against the oracle, whatever else runs in a batch; cut, empty and broken texts."""

import json
import threading

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction import Classifier, Problem, TextGenerator
from support.labels import ir, logits, write_classifier
from support.toy import ONE_THREAD, Toy, save

TOY = Toy(n_positions=24, n_embd=16)
LABELS = ("one", "two", "three")
PAD = TOY.end_of_text_id
TEXTS = ["the rat", "a", "is it so, or not?", "ten hats", "oh, oh", "é", "no", "rest in heat and rain, all of us there"]


@pytest.fixture(scope="module")
def irs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    kinds = {"pad": (LABELS, PAD, {}), "bare": (LABELS, None, {}), "one": (("good",), PAD, {})}
    kinds["multi"] = (LABELS, PAD, {"problem_type": "multi_label_classification"})
    return {
        name: ir(write_classifier(TOY, folder / name, labels, pad, **fields), folder / f"{name}-ir/{name}.xml")
        for name, (labels, pad, fields) in kinds.items()
    }


@pytest.fixture(scope="module")
def classify(irs):
    with Classifier(irs["pad"], config=ONE_THREAD) as classifier:
        yield classifier


def expected(classifier, text: str, count: int = 3) -> np.ndarray:  # [N]
    tokens = classifier.tokenizer.encode(text)[: TOY.n_positions]
    return logits(TOY, count, tokens)[-1]


def softmax(values: np.ndarray) -> np.ndarray:  # [N] -> [N]
    shares = np.exp(values - values.max())
    return shares / shares.sum()


@pytest.mark.parametrize("kind", ["pad", "bare"])
def test_probabilities_are_the_oracles(irs, kind):
    with Classifier(irs[kind], config=ONE_THREAD) as classifier:
        results = classifier(TEXTS)
        for text, result in zip(TEXTS, results, strict=True):
            shares = softmax(expected(classifier, text))
            np.testing.assert_allclose(result.probabilities, shares, atol=1e-5)
            assert (result.label, result.labels) == (LABELS[shares.argmax()], LABELS)
            assert result.score == result.probabilities.max()
    assert len({result.label for result in results}) > 1


@pytest.mark.parametrize(("kind", "labels"), [("multi", LABELS), ("one", ("good",))])
def test_labels_of_their_own_have_probabilities_of_their_own(irs, kind, labels):
    with Classifier(irs[kind], config=ONE_THREAD) as classifier:
        assert classifier.labels == labels
        for text, result in zip(TEXTS, classifier(TEXTS), strict=True):
            shares = 1 / (1 + np.exp(-expected(classifier, text, len(labels))))
            np.testing.assert_allclose(result.probabilities, shares, atol=1e-5)


def test_one_text_many_texts_and_a_stream_are_the_same(classify):
    alone = [classify(text)[0].probabilities for text in TEXTS]
    many = [result.probabilities for result in classify(TEXTS * 100)]
    np.testing.assert_allclose(many, alone * 100, atol=1e-6)
    stream = classify.stream(text for text in TEXTS)
    np.testing.assert_allclose([result.probabilities for result in stream], alone, atol=1e-6)


def test_a_result_shows_its_labels_by_their_probability(classify):
    (result,) = classify("the rat")
    assert [score.score for score in result.scores] == sorted(result.probabilities, reverse=True)
    assert result.top(1) == result.scores[:1] == [(result.label, result.score)]
    fields = json.loads(json.dumps(result.to_dict()))
    assert fields["label"] == result.label
    assert [score["label"] for score in fields["scores"]] == [score.label for score in result.scores]


def test_a_long_text_is_cut_at_its_end(irs, classify):
    long = "rest in heat and rain, all of us there " * 3
    (result,) = classify(long)
    kept = classify.tokenizer.decode(classify.tokenizer.encode(long)[: TOY.n_positions])
    assert result.cut == len(long) - len(kept) > 0
    np.testing.assert_allclose(result.probabilities, softmax(expected(classify, long)), atol=1e-5)
    with Classifier(irs["pad"], config=ONE_THREAD, max_seq_len=3) as short:
        assert short("the rat")[0].cut > 0
        tokens = short.tokenizer.encode("the rat")[:3]
        np.testing.assert_allclose(short("the rat")[0].probabilities, softmax(logits(TOY, 3, tokens)[-1]), atol=1e-5)


def test_the_tokens_around_a_text_stay_around_a_cut_one(irs, tmp_path):
    folder = tmp_path / "begun"
    checkpoint = write_classifier(TOY, tmp_path / "in", LABELS, 7)
    TOY.write_tokenizer_that_begins_texts(checkpoint)
    with Classifier(ir(checkpoint, folder / "toy.xml"), config=ONE_THREAD) as classifier:
        plain = classifier.tokenizer.encode(TEXTS[-1])
        tokens = [TOY.end_of_text_id, *plain][: TOY.n_positions]
        (result,) = classifier(TEXTS[-1])
        np.testing.assert_allclose(result.probabilities, softmax(logits(TOY, 3, tokens)[-1]), atol=1e-5)


def test_the_end_of_text_in_a_text_is_plain_text(classify):
    text = "a<|endoftext|>"
    assert PAD not in classify.tokenizer.encode_starts([text], 24)[0].tokens
    np.testing.assert_allclose(classify(text)[0].probabilities, softmax(expected(classify, text)), atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ("", "text 1: is empty: a label needs some text"),
        (["a", "b", ""], "text 3: is empty: a label needs some text"),
        (["a", "x\ud800"], "text 2: the text is not valid UTF-8 at character 2"),
        (["a", 3], "expected a str, got int: 3"),
    ],
)
def test_a_text_without_a_label_is_a_problem(classify, texts, line):
    with pytest.raises(Problem) as caught:
        classify(texts)
    assert str(caught.value) == line


def test_no_texts_have_no_labels(classify):
    assert classify([]) == []


def test_progress_counts_texts(classify):
    counts = []
    classify(TEXTS * 50, on_progress=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == len(TEXTS) * 50


def test_what_on_progress_raises_ends_the_call_and_the_next_one_runs(classify):
    def fail(_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        classify(TEXTS * 50, on_progress=fail)
    assert len(classify(TEXTS)) == len(TEXTS)


def test_threads_take_turns(classify):
    alone = [result.probabilities for result in classify(TEXTS)]
    found = {}

    def run(i):
        found[i] = [result.probabilities for result in classify(TEXTS)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_allclose(found[i], alone, atol=1e-6)


def test_a_closed_classifier_says_so(irs):
    classifier = Classifier(irs["pad"], config=ONE_THREAD)
    classifier.close()
    classifier.close()
    with pytest.raises(Problem, match="the classifier is closed"):
        classifier("a")


def test_a_language_model_is_refused_and_the_reverse(irs, tmp_path):
    path = TOY.ir(tmp_path)
    with pytest.raises(Problem, match=f"{path}: expected a model of labels.* gpt2_text_prediction_demo -m {path}"):
        Classifier(path)
    with pytest.raises(Problem, match=f"is a model of labels .* run: gpt2_classify -m {irs['pad']}"):
        TextGenerator(irs["pad"])


@pytest.mark.parametrize(
    ("name", "fact", "line"),
    [
        ("labels", '["a", "b"]', r"expected token ids \[B, L\] in and logits \[B, 2\] out"),
        ("labels", "[", "its rt_info lists no labels"),
        ("labels", '{"a": 1}', "its rt_info lists no labels"),
        ("vocab_size", "", r"expected token ids \[B, L\] in"),
    ],
)
def test_facts_that_do_not_fit_are_refused(irs, tmp_path, name, fact, line):
    model = ov.Core().read_model(irs["pad"])
    model.set_rt_info(fact, ["omz_gpt2", name])
    path = save(model, tmp_path / "toy.xml")
    with pytest.raises(Problem, match=line):
        Classifier(path)


def test_logits_that_are_no_numbers_are_refused(tmp_path):
    toy = Toy()
    toy.state["ln_f.weight"][3] = np.nan
    path = ir(write_classifier(toy, tmp_path / "in", LABELS, PAD), tmp_path / "out/toy.xml")
    with Classifier(path, config=ONE_THREAD) as classifier, pytest.raises(Problem, match="logits hold NaN or infinity"):
        classifier("a")


@pytest.mark.parametrize("length", [0, 25])
def test_a_length_that_the_model_has_not_is_refused(irs, length):
    with pytest.raises(Problem, match=r"max_seq_len: expected 1 \.\. 24"):
        Classifier(irs["pad"], max_seq_len=length)
