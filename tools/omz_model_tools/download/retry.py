"""Whether and when a source is asked once more; it knows no HTTP and does not wait itself."""

from collections.abc import Callable

from omz_model_tools.descriptor.verify import HashMismatch, TooLong, Untrue, WrongLength
from omz_model_tools.download.sources import Unavailable

LONGEST_DELAY = 30  # seconds of our own choice
PROGRESS = 1 << 20  # new bytes that make a try worth its while

UNTRUE = (HashMismatch, TooLong, WrongLength)  # garbled on its way, or another file


class Patience:
    """With one source, for one file."""

    def __init__(self, num_attempts: int, random: Callable[[], float], reached: int) -> None:
        self._num_attempts = num_attempts
        self._random = random
        self._furthest = reached
        self._counted = 0
        self._untrue = 0
        self.tries = 0

    def delay_after(self, failure: Unavailable | Untrue, began: int, reached: int) -> float | None:
        """Seconds until the next try, None if there is none; the try went from the byte `began` to `reached`."""
        self.tries += 1
        if isinstance(failure, Unavailable) and not failure.passing:
            return None
        if isinstance(failure, UNTRUE):
            self._untrue += 1
        if self._untrue == 2:  # a proxy may have garbled it once; twice, and the file itself is another
            return None
        if not self._is_free(failure, began, reached):
            self._counted += 1
            if self._counted >= self._num_attempts:
                return None
        asked = failure.wait if isinstance(failure, Unavailable) else 0
        return max(backoff(max(self._counted, 1), self._random), asked)

    def _is_free(self, failure: Unavailable | Untrue, began: int, reached: int) -> bool:
        """A try is not counted if it brought something, or if what was untrue may come from an earlier one."""
        if isinstance(failure, HashMismatch):
            return began > 0
        brought = reached - self._furthest
        self._furthest = max(self._furthest, reached)
        return brought >= PROGRESS


def backoff(failures: int, random: Callable[[], float]) -> float:
    """1, 2, 4, 8... seconds at most and half of that at least, lest all who wait come back at once."""
    longest = min(2.0 ** min(failures - 1, 10), LONGEST_DELAY)
    return longest * (1 + random()) / 2
