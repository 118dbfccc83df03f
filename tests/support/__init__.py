"""What the tests lean on: toy checkpoints, servers that misbehave, independent oracles."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
