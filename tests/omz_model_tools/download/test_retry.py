"""Which failures are retried, after how long, and how often."""

import pytest

from omz_model_tools.descriptor.verify import HashMismatch, TooLong, TooShort, VerificationError, WrongLength
from omz_model_tools.download.retry import PROGRESS, RetryPolicy, backoff
from omz_model_tools.download.sources import Unavailable

PASSING, FINAL = Unavailable("503", temporary=True), Unavailable("404", temporary=False)
MISMATCH = HashMismatch("00", "11")


def policy(num_attempts: int, reached: int = 0) -> RetryPolicy:
    return RetryPolicy(num_attempts, lambda: 1.0, reached)


def test_delays_double_up_to_half_a_minute() -> None:
    assert [backoff(count, lambda: 1.0) for count in (1, 2, 3, 4, 5, 6, 7, 5000)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [backoff(count, lambda: 0.0) for count in (1, 6)] == [0.5, 15]


def test_n_attempts_and_no_more() -> None:
    source = policy(3)
    assert [source.delay_after(PASSING, 0, 0) for _ in range(3)] == [1, 2, None]
    assert source.attempts == 3


def test_what_will_not_pass_is_not_tried_again() -> None:
    assert policy(9).delay_after(FINAL, 0, 0) is None


def test_a_server_may_ask_for_more_patience_and_not_for_less() -> None:
    source = policy(9)
    assert source.delay_after(Unavailable("429", temporary=True, wait=17), 0, 0) == 17
    assert source.delay_after(Unavailable("429", temporary=True, wait=1), 0, 0) == 2


@pytest.mark.parametrize("failure", [MISMATCH, TooLong(5), WrongLength(5, 4)])
def test_wrong_bytes_twice_mean_another_file(failure: VerificationError) -> None:
    source = policy(9)
    assert source.delay_after(failure, 0, 0) == 1
    assert source.delay_after(PASSING, 0, 0) == 2
    assert source.delay_after(failure, 0, 0) is None


def test_a_file_that_ended_too_soon_is_no_other_file() -> None:
    source = policy(9)
    assert [source.delay_after(TooShort(5, 4), 0, 4) for _ in range(3)] == [1, 2, 4]


def test_a_mismatch_of_older_bytes_is_not_counted() -> None:
    source = policy(1, reached=100)
    assert source.delay_after(MISMATCH, began=100, reached=0) == 1
    assert source.delay_after(MISMATCH, began=0, reached=0) is None


def test_a_try_that_brings_a_mebibyte_beyond_all_before_is_not_counted() -> None:
    source = policy(2, reached=10)
    assert source.delay_after(PASSING, 10, 10 + PROGRESS) == 1
    assert source.delay_after(PASSING, 10 + PROGRESS, 10 + 2 * PROGRESS) == 1
    assert source.delay_after(PASSING, 0, 10 + 2 * PROGRESS) == 1  # from scratch, and no further
    assert source.delay_after(PASSING, 0, 9 + 3 * PROGRESS) is None  # a byte short
