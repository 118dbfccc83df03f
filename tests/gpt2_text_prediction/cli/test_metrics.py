"""metrics: numbers that can be checked by hand."""

import pytest

from gpt2_text_prediction.cli.metrics import Metrics


def test_nothing_generated_nothing_reported():
    metrics = Metrics()
    assert metrics.report() == []
    metrics.add([])
    metrics.add([1.5])
    assert metrics.report() == []


def test_one_answer():
    metrics = Metrics()
    metrics.add([10.0, 10.5, 10.6, 10.7])
    assert metrics.report() == [
        "Metrics report:",
        "\tLatency: 233.3 ms",
        "\tFPS: 4.3",
        "\tTime to first token: 500.0 ms",
        "\tTokens/s after the first: 10.0",
    ]


def test_an_answer_of_one_token_has_no_later_tokens():
    metrics = Metrics()
    metrics.add([0.0, 0.25])
    assert metrics.report() == [
        "Metrics report:",
        "\tLatency: 250.0 ms",
        "\tFPS: 4.0",
        "\tTime to first token: 250.0 ms",
    ]


def test_answers_are_taken_together_and_the_time_between_them_does_not_count():
    metrics = Metrics()
    metrics.add([0.0, 0.3, 0.4])
    metrics.add([100.0, 100.1])
    metrics.add([])
    metrics.add([200.0, 200.2, 200.4, 200.6])
    assert metrics.report() == [
        "Metrics report:",
        "\tLatency: 183.3 ms",
        "\tFPS: 5.5",
        "\tTime to first token: 200.0 ms",
        "\tTokens/s after the first: 6.0",
    ]


@pytest.mark.parametrize("times", [[1.0, 1.0], [1.0, 1.5, 1.5]])
def test_a_clock_too_coarse_to_tell_does_not_end_the_report(times):
    metrics = Metrics()
    metrics.add(times)
    assert metrics.report()
