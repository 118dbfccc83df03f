"""What the tests lean on: toy checkpoints, servers that misbehave, independent oracles."""

import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
HANGS_AFTER = 600
"""Seconds. Nothing that a test waits for takes as long, however busy the machine is: it will not come any more."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for what will come."""
    end = time.monotonic() + HANGS_AFTER
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
