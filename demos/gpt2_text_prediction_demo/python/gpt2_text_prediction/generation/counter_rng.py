"""Random numbers by counter: those of a position depend on seed, prompt, sample and position, not on earlier draws."""

import numpy as np


class CounterRng:
    """Random numbers for the tokens of one sample, all of Philox-4x64-10 with the seed as key.

    Each position has 2**64 numbers of its own: its counter begins at (0, position, sample, prompt).
    All four are whole numbers from 0 to 2**64 - 1.
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """

    def __init__(self, seed: int, prompt: int = 0, sample: int = 0) -> None:
        self._counter = np.array([0, 0, sample, prompt], np.uint64)
        self._philox = np.random.Philox(key=np.array([seed, 0], np.uint64))
        self._fresh = self._philox.state  # with an empty buffer
        self._generator = np.random.Generator(self._philox)
        self._is_there = False  # whether the generator is at the position: a greedy token needs no numbers

    def at(self, position: int) -> "CounterRng":
        """Return this, whose next numbers are those of the token at a position."""
        self._counter[1] = position
        self._is_there = False
        return self

    def random(self) -> float:
        """Return the next number, of 0 <= number < 1."""
        if not self._is_there:
            self._fresh["state"]["counter"] = self._counter
            self._philox.state = self._fresh  # a third of the time that a new Philox takes
            self._is_there = True
        return self._generator.random()
