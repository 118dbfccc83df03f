"""Retry policy: whether a source is tried again, and after how many seconds.

sources.py says which failures are temporary, and gives up a server that asks to wait longer than LONGEST_WAIT.
"""

from collections.abc import Callable

from omz_model_tools.descriptor.verify import HashMismatch, TooLong, VerificationError, WrongLength
from omz_model_tools.download.sources import Unavailable

LONGEST_DELAY = 30  # seconds of back-off; a server may ask for more, up to sources.LONGEST_WAIT
PROGRESS = 1 << 20  # new bytes after which an attempt counts as progress

CORRUPT = (HashMismatch, TooLong, WrongLength)  # garbled in transit, or another file


class RetryPolicy:
    """The attempts to get one file from one source."""

    def __init__(self, num_attempts: int, random: Callable[[], float], reached: int) -> None:
        self._num_attempts = num_attempts
        self._random = random
        self._furthest = reached
        self._counted = 0
        self._corrupt = 0
        self.attempts = 0

    def delay_after(self, failure: Unavailable | VerificationError, began: int, reached: int) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give the source up.

        The failed attempt began at the byte `began` and came as far as `reached`.
        """
        self.attempts += 1
        if isinstance(failure, Unavailable) and not failure.temporary:
            return None
        if isinstance(failure, CORRUPT):
            self._corrupt += 1
        if self._corrupt == 2:  # a proxy may have garbled it once; twice, and the source has another file
            return None
        if not self._is_free(failure, began, reached):
            self._counted += 1
            if self._counted >= self._num_attempts:
                return None
        asked = failure.wait if isinstance(failure, Unavailable) else 0
        return max(backoff(max(self._counted, 1), self._random), asked)

    def _is_free(self, failure: Unavailable | VerificationError, began: int, reached: int) -> bool:
        """Attempts that made progress, or whose wrong bytes may come from an earlier attempt, are not counted."""
        if isinstance(failure, HashMismatch):
            return began > 0
        gained = reached - self._furthest
        self._furthest = max(self._furthest, reached)
        return gained >= PROGRESS


def backoff(failures: int, random: Callable[[], float]) -> float:
    """Return 1, 2, 4, 8... seconds with jitter: at least half of it, so that clients do not all return at once."""
    longest = min(2.0 ** min(failures - 1, 10), LONGEST_DELAY)
    return longest * (1 + random()) / 2
