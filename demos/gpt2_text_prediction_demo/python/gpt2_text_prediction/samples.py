"""The samples of one call of generate: what the scheduler runs, and the results that are made of it."""

from typing import NamedTuple

import numpy as np

from gpt2_text_prediction.generation.request import Generation
from gpt2_text_prediction.results import Result
from gpt2_text_prediction.text.stopping import StoppableText


class Text:
    """What is written of one sample."""

    def __init__(self, text: StoppableText) -> None:
        self._text = text
        self._pieces: list[str] = []

    def push(self, token: int) -> bool:
        """Take a token; tell whether the text ends with it."""
        self._pieces.append(self._text.push(token))
        return self._text.stopped

    def whole(self) -> str:
        """Return all of it, at its end."""
        return "".join(self._pieces) + self._text.close()


class Sample(NamedTuple):
    """One continuation of one prompt, of whose beginning `cut` characters did not fit."""

    generation: Generation
    text: Text
    cut: int


class Samples(NamedTuple):
    """Those of all prompts, in the order of prompts, then samples; drawn with this seed."""

    all: list[Sample]
    seed: int

    @property
    def generations(self) -> list[Generation]:
        """What is to be run."""
        return [one.generation for one in self.all]

    def results(self) -> list[Result]:
        """Return what came of them, when all have ended."""
        return [
            Result(text.whole(), str(one.finish_reason), one.tokens, np.array(one.logprobs), self.seed, cut)
            for one, text, cut in self.all
        ]
