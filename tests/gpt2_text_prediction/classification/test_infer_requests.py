"""InferRequests: outputs in the order of the inputs; what fails or is interrupted ends the others."""

import numpy as np
import openvino as ov
import pytest

from gpt2_text_prediction.classification.infer_requests import InferFailed, InferRequests
from support.labels import ir, logits, write_classifier
from support.toy import EXACT, Toy

TOY = Toy(n_positions=24, n_embd=16)
INPUTS = [np.array([[i + 1, 2 * i + 1, 7]]) for i in range(20)]


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    path = ir(write_classifier(TOY, folder / "in", ("a", "b"), 299), folder / "out/toy.xml")
    streams = {**EXACT, "NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2"}
    return InferRequests(ov.Core().compile_model(path, "CPU", streams))


def assert_right(outputs):
    expected = np.array([logits(TOY, 2, ids[0])[-1] for ids in INPUTS])
    np.testing.assert_allclose(np.concatenate(outputs), expected, atol=1e-5 * np.abs(expected).max())


def test_outputs_come_in_the_order_of_the_inputs(requests):
    ended = []
    assert_right(requests.run(INPUTS, ended.append))
    assert sorted(ended) == list(range(len(INPUTS)))
    assert requests.run([]) == []


def test_an_input_that_cannot_be_run_ends_the_others(requests):
    with pytest.raises(InferFailed):
        requests.run([*INPUTS, np.ones((1, 25), np.int64)])  # more than the model's positions
    assert_right(requests.run(INPUTS))


def test_an_interrupt_ends_the_others(requests):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        requests.run(INPUTS, interrupt)
    assert_right(requests.run(INPUTS))
