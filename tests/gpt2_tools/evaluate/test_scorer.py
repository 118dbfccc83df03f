"""scorer: log-probabilities of the numpy oracle and of tables by hand; tokens that no model can score are refused."""

import tracemalloc

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction.engine.configuration import Weights
from gpt2_text_prediction.problem import Problem as DemoProblem
from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate import scorer as module
from gpt2_tools.evaluate.scorer import likelihoods, load_scorer, scoring_config
from support.bigram import bigram
from support.toy import EXACT, Toy

TOY = Toy(n_positions=16)


def log_softmax(logits):  # [..., V] -> [..., V]
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def oracle(toy: Toy, row):  # [L] -> [L-1], [L-1]
    logits = toy.logits(row)[:-1]
    places = np.arange(len(row) - 1), np.asarray(row)[1:]
    return log_softmax(logits)[places], logits.argmax(-1) == row[1:]


def likely_rows(toy: Toy, rows: int, length: int) -> np.ndarray:  # -> [rows, length]
    """Tokens of which some are the most likely after those before."""
    rng, found = np.random.default_rng(3), []
    for _ in range(rows):
        row = rng.integers(0, toy.vocab_size, length - 4).tolist()
        found.append(row + toy.greedy(row, 4))
    return np.array(found)


@pytest.fixture(scope="module")
def toy_scorer(tmp_path_factory):
    return load_scorer(TOY.ir(tmp_path_factory.mktemp("toy")))


@pytest.mark.parametrize(("rows", "length"), [(1, 5), (1, 16), (3, 9)])
def test_the_oracle_says_the_same(toy_scorer, rows, length):
    tokens = likely_rows(TOY, rows, length)
    scores = toy_scorer.score(tokens)
    assert scores.logprobs.dtype == np.float32
    assert scores.top.dtype == bool
    for row, logprobs, top in zip(tokens, scores.logprobs, scores.top, strict=True):
        expected, likeliest = oracle(TOY, row)
        np.testing.assert_allclose(logprobs, expected, atol=1e-4)
        np.testing.assert_array_equal(top, likeliest)
        assert top[-4:].all()


def test_what_stands_after_a_row_does_not_matter(toy_scorer):
    long, short = likely_rows(TOY, 2, 12)
    padded = np.array([long, [*short[:7], *[0] * 5]])
    together = toy_scorer.score(padded).logprobs
    np.testing.assert_allclose(together[0], oracle(TOY, long)[0], atol=1e-4)
    np.testing.assert_allclose(together[1, :6], oracle(TOY, short[:7])[0], atol=1e-4)


def test_a_table_done_by_hand(tmp_path):
    """p(0|0) = 1/2, p(1|0) = p(2|0) = 1/4; after 1 all are 1/3; after 2 it is 0."""
    path = bigram(tmp_path / "x.xml", [[np.log(2), 0, 0], [5, 5, 5], [100, 0, 0]])
    scores = load_scorer(path).score(np.array([[0, 0, 1, 2, 0]]))
    np.testing.assert_allclose(scores.logprobs, [[np.log(1 / 2), np.log(1 / 4), np.log(1 / 3), 0]], atol=1e-6)
    np.testing.assert_array_equal(scores.top, [[True, False, True, True]])


@pytest.mark.parametrize("level", [-200.0, 0.0, 200.0])
def test_logits_far_from_nought_lose_nothing(tmp_path, level):
    """exp(-200) and exp(200) do not fit into f32."""
    path = bigram(tmp_path / "x.xml", np.full((3, 3), level) + np.log([1, 2, 1]))
    np.testing.assert_allclose(load_scorer(path).score(np.array([[0, 1, 2]])).logprobs, np.log([[1 / 2, 1 / 4]]), 1e-4)


def test_logits_of_another_type(tmp_path):
    path = bigram(tmp_path / "x.xml", [[0, 0], [1, 0]], dtype=np.float16)
    scores = load_scorer(path).score(np.array([[0, 1, 0]]))
    assert scores.logprobs.dtype == np.float32
    np.testing.assert_allclose(scores.logprobs, [[np.log(1 / 2), -np.log1p(np.exp(-1))]], atol=1e-3)


@pytest.mark.parametrize("ids", [("?", "?", "?"), ("?", 1, "?"), (1, 6), ("?", 6), (2, 1, "?"), (1, 1, 6)])
def test_inputs_of_every_shape(tmp_path, ids):
    """Those of the ONNX Model Zoo are [B, S, L]; a fixed shape is filled."""
    path = bigram(tmp_path / "x.xml", np.log([[1, 3], [3, 1]]), ids)
    scores = load_scorer(path).score(np.array([[0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]]))
    stays, leaves = np.log([1 / 4, 3 / 4])
    expected = [[leaves, stays, leaves], [stays, leaves, stays], [stays, stays, leaves]]
    np.testing.assert_allclose(scores.logprobs, expected, atol=1e-6)
    np.testing.assert_array_equal(scores.top, np.array(expected) == leaves)


def test_rows_of_too_many_logits_run_one_after_another(tmp_path):
    """10000 rows of 8 tokens and 1000 logits are 80 million, more than MOST_LOGITS."""
    assert module.MOST_LOGITS < 10000 * 8 * 1000
    rng = np.random.default_rng(0)
    table = rng.normal(size=(1000, 1000))
    tokens = rng.integers(0, 1000, (10000, 8))
    scores = load_scorer(bigram(tmp_path / "x.xml", table)).score(tokens)
    expected = log_softmax(table)[tokens[:, :-1], tokens[:, 1:]]
    np.testing.assert_allclose(scores.logprobs, expected, atol=1e-4)


def test_no_array_of_all_logits_reaches_python(tmp_path):
    """A row of 500 tokens has 2 million logits, 8 MB; numpy reports its memory to tracemalloc."""
    tokens = np.random.default_rng(0).integers(0, 4000, (1, 500))
    scorer = load_scorer(bigram(tmp_path / "x.xml", np.zeros((4000, 4000)), positions=500))
    tracemalloc.start()
    scorer.score(tokens)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_no_numbers(tmp_path, wrong):
    path = bigram(tmp_path / "x.xml", [[0, 0], [wrong, 0]])
    scorer = load_scorer(path)
    assert scorer.score(np.array([[0, 0, 1]])).logprobs.shape == (1, 2)  # what follows the last token is not computed
    with pytest.raises(Problem) as caught:
        scorer.score(np.array([[0, 1, 0]]))
    message = f"{path}: its logits are not all finite numbers; convert or quantize the model again"
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros(4, int), "expected token ids [B, L], got int64 [4]"),
        (np.zeros((0, 4), int), "expected token ids [B, L], got int64 [0, 4]"),
        (np.zeros((1, 4)), "expected token ids [B, L], got float64 [1, 4]"),
        (np.zeros((1, 1), int), "expected rows of 2 .. 17 tokens, got 1"),
        (np.zeros((1, 18), int), "expected rows of 2 .. 17 tokens, got 18"),
        (np.array([[0, 300]]), "expected token ids below 300, got 0 .. 300"),
        (np.array([[0, -1]]), "expected token ids below 300, got -1 .. 0"),
    ],
)
def test_what_no_model_could_score(toy_scorer, tokens, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole text is compared)
        toy_scorer.score(tokens)
    assert str(caught.value) == message


@pytest.mark.parametrize(("row", "count"), [([5, 6], 0), ([5, 6], 2), ([5], 1), ([], 0)])
def test_a_row_with_nothing_to_score_in_a_batch(toy_scorer, row, count):
    """Its likelihood would be that of no token: certain."""
    with pytest.raises(ValueError, match=f"expected a count of 1 .. {len(row) - 1} tokens to score, got {count}"):
        likelihoods(toy_scorer.score, [[1, 2, 3, 4], row], [2, count])


def test_it_knows_its_model(toy_scorer):
    assert (toy_scorer.n_positions, toy_scorer.vocab_size, toy_scorer.eos_token_ids) == (16, 300, (299,))


def test_a_model_that_does_not_report_its_positions(tmp_path):
    path = bigram(tmp_path / "x.xml", [[0, 0], [0, 0]], positions=None)
    with pytest.raises(Problem) as caught:
        load_scorer(path)
    assert str(caught.value) == f"{path}: does not state its number of positions: give --context"
    assert load_scorer(path, max_seq_len=5).n_positions == 5


def test_a_device_that_there_is_not(tmp_path):
    with pytest.raises(DemoProblem, match=r"^device TPU: there is no such device; available: "):
        load_scorer(bigram(tmp_path / "x.xml", [[0, 0], [0, 0]]), scoring_config("TPU"))


def test_it_is_exact_by_default(toy_scorer, tmp_path):
    def resolved(*asked: object) -> dict[str, object]:
        return scoring_config(*asked).resolved(ov.Core(), Weights(False))

    assert resolved("CPU") == resolved("CPU", "f32") == EXACT
    assert resolved("GPU") == {"INFERENCE_PRECISION_HINT": "f32"}
    assert resolved("CPU", "device", 1) == {"INFERENCE_NUM_THREADS": 1}
    bf16 = {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "f16"}
    assert resolved("CPU", "bf16") == bf16  # the demo's
    settings = toy_scorer.settings()
    assert (settings["inference_precision"], settings["kv_cache_precision"]) == ("f32", "f32")
    path = bigram(tmp_path / "x.xml", [[0, 0], [0, 0]])
    settings = load_scorer(path, scoring_config("CPU", "device", 1)).settings()
    assert (settings["threads"], settings["kv_cache_precision"]) == ("1", "u8")


def test_the_last_token_of_a_row_needs_no_position(toy_scorer):
    """The last token needs no position: 17 tokens fit a model of 16 positions."""
    row = likely_rows(TOY, 1, 16)[0]
    scores = toy_scorer.score(np.array([[*row, 7]]))
    np.testing.assert_allclose(scores.logprobs[0, :-1], oracle(TOY, row)[0], atol=1e-4)
    assert scores.logprobs[0, -1] == pytest.approx(log_softmax(TOY.logits(row)[-1])[7], abs=1e-4)


@pytest.mark.extras("torch", "onnx")
def test_a_file_of_the_onnx_model_zoo(tmp_path):
    """gpt2-lm-head-10's interface, by a toy; its keys and values are left out."""
    from support.zoo_toy import write_zoo_model  # noqa: PLC0415

    tokens = likely_rows(TOY, 2, 9)
    scores = load_scorer(write_zoo_model(tmp_path / "toy.onnx", TOY), max_seq_len=16).score(tokens)
    for row, logprobs in zip(tokens, scores.logprobs, strict=True):
        np.testing.assert_allclose(logprobs, oracle(TOY, row)[0], atol=1e-4)
