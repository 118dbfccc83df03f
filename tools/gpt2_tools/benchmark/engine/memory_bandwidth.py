"""The memory bandwidth of this machine, which bounds the decoding speed of a single sequence.

`python -m gpt2_tools.benchmark.engine.memory_bandwidth THREADS` answers each line of its stdin with one line of JSON,
so that its buffers are not in the memory of the process that is measured.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

ANSWER = "gigabytes_a_second"


class MemoryReader:
    """Threads that each read a part of an array that is too large for any cache."""

    def __init__(self, threads: int, megabytes: int = 512, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._parts = np.array_split(np.ones(megabytes << 18, np.int32), threads)
        self._pool = ThreadPoolExecutor(threads)
        self._bytes = sum(part.nbytes for part in self._parts)

    def gigabytes_a_second(self, times: int = 5) -> float:
        """Return the best of several reads: other load can only make a read slower."""
        return max(self._bytes / self._read() for _ in range(times)) / 1e9

    def close(self) -> None:
        """Release the threads and the memory."""
        self._pool.shutdown()
        self._parts = []

    def _read(self) -> float:
        start = self._clock()
        list(self._pool.map(np.max, self._parts))
        return self._clock() - start


def main(threads: str) -> None:
    """Serve until stdin ends."""
    reader = MemoryReader(int(threads))
    print("{}", flush=True)
    for _ in sys.stdin:
        print(json.dumps({ANSWER: reader.gigabytes_a_second()}), flush=True)
    reader.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
