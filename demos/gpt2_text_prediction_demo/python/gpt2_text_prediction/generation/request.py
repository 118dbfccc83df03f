"""What a row of the scheduler computes and what comes of it: a continuation, or the reading of a text.

Token ids in, token ids out; text is not known here, nor when a step is run and with which other rows.
Letters: W places of a step whose logits are wanted, V vocabulary.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpt2_text_prediction.engine.sequence import Cache, Logits, Row
from gpt2_text_prediction.generation.logits_processors import History
from gpt2_text_prediction.generation.prompt_lookup import PromptLookup
from gpt2_text_prediction.generation.sampling import Sampling, choose

MOST_LOGITS = 128
"""How many places of a text are read at once where the logits of all are wanted: each has V numbers."""


class Recent:
    """The caches of the last few texts, for prompts that begin as they did."""

    def __init__(self, count: int = 4) -> None:
        self._caches: deque[Cache] = deque(maxlen=count)

    def add(self, cache: Cache) -> None:
        """Keep a cache that nobody continues, if there is anything in it."""
        if cache.tokens:
            self._caches.append(cache)

    def start(self, tokens: Sequence[int]) -> tuple[Cache, int]:
        """Return a cache to put tokens into, and how many of them it has: all but one of them at most.

        Of a cache that has mostly other tokens nothing is used: a back end may have to drag them along.
        """
        found = [(_common(cache.tokens, tokens), cache) for cache in self._caches]
        kept, cache = max(found, key=lambda one: one[0], default=(0, Cache()))
        if kept == 0 or 2 * kept < len(cache.tokens):
            return Cache(), 0
        return cache.fork(), kept


def _common(held: Sequence[int], tokens: Sequence[int]) -> int:
    most = min(len(held), len(tokens) - 1)
    return next((place for place in range(most) if held[place] != tokens[place]), most)


class Prompt:
    """A prompt that several samples continue: the first of them computes it, the others fork it."""

    def __init__(self, tokens: Sequence[int], samples: int = 1) -> None:
        self.tokens = tokens
        self.shared = samples > 1
        self.filling = False
        self.filled: tuple[Cache, Logits] | None = None  # the logits behind its last token, [V]


@dataclass(frozen=True)
class Plan:
    """How a sample is drawn: most is how many new tokens it may have, eos_token_id what ends it, if anything.

    slide_at: the positions behind which it goes on with the last half of what stands there; None where most fits.
    """

    sampling: Sampling
    seed: Sequence[int]  # of its own draws: the seed, which prompt, which sample
    most: int
    eos_token_id: int | None
    lookup: bool = False
    with_logprobs: bool = False
    slide_at: int | None = None


class Generation:
    """One sample. tokens and logprobs grow; finish_reason and error are None until its end.

    on_token is told each token; where it returns True the text ends with that one.
    """

    def __init__(
        self,
        prompt: Prompt,
        plan: Plan,
        recent: Recent,
        on_end: Callable[["Generation"], None],
        on_token: Callable[[int], bool | None] = lambda token: None,
    ) -> None:
        self.tokens: list[int] = []  # without the one that ends the text
        self.logprobs: list[float] = []  # the model's own, before anything is done to its logits
        self.finish_reason: str | None = None
        self.error: Exception | None = None
        self.positions = min(len(prompt.tokens) + plan.most, plan.slide_at or sys.maxsize)
        self._prompt = prompt
        self._plan = plan
        self._recent = recent
        self._on_end, self._on_token = on_end, on_token
        self._rng = np.random.default_rng(plan.seed)
        self._history = History(prompt.tokens, self.tokens, plan.eos_token_id)
        self._cache = Cache()
        self._given: Sequence[int] = prompt.tokens  # what stands before the tokens from _first on
        self._first = 0
        self._held = 0  # how many tokens of these are in the cache and count
        self._new: list[int] = []  # what is computed in this step
        self._lookup: PromptLookup | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""
        return self.finish_reason is not None

    def is_ready(self) -> bool:
        """Tell whether it can enter: not while another sample computes its prompt."""
        return not self._prompt.filling

    def enter(self) -> None:
        """Begin, with what is computed already."""
        if self._prompt.filled is None:
            self._prompt.filling = self._prompt.shared
            self._cache, self._held = self._recent.start(self._prompt.tokens)
        else:
            cache, logits = self._prompt.filled
            self._cache, self._held = cache.fork(), len(cache.tokens)
            self._take_first(logits)

    def needs(self) -> int:
        """Return how many tokens have to be computed before the next one comes."""
        return self._length() - self._held

    def next_row(self, most: int) -> Row:
        """Return what to compute, `most` tokens at most."""
        if self._held < len(self._given):
            self._new = list(self._given[self._held : self._held + most])
            return Row(self._cache, self._new, self._held, [-1] * (len(self._new) == self.needs()))
        drafts = self._lookup.draft(min(most, self._room()) - 1) if self._lookup else []
        self._new = [self.tokens[-1], *drafts]
        return Row(self._cache, self._new, self._held, range(len(self._new)))

    def take(self, logits: Logits) -> None:  # [W, V]
        """Draw what comes of the row that was computed."""
        if self._held < len(self._given):
            self._held += len(self._new)
            if len(logits):
                self._share(logits[0])
                self._take_first(logits[0])
            return
        drafts = self._new[1:]
        drawn = [self._draw(logits[0])]
        for draft, behind in zip(drafts, logits[1:], strict=True):
            if self.done or drawn[-1] != draft:
                break
            drawn.append(self._draw(behind))
        self._held += len(drawn)
        self._learn(len(drafts), drawn)
        if self._plan.slide_at is not None and self._length() > self._plan.slide_at:
            self._slide(self._plan.slide_at // 2)

    def end(self, error: Exception | None) -> None:
        """Leave; error: why, where it is not done."""
        self.error = error
        if self._prompt.filled is None:
            self._prompt.filling = False
        self._recent.add(self._cache)
        self._on_end(self)

    def _length(self) -> int:
        return len(self._given) + len(self.tokens) - self._first

    def _room(self) -> int:
        """Return how many tokens may be computed at once, the last one drawn among them."""
        left = self._plan.most - len(self.tokens)
        return left if self._plan.slide_at is None else min(left, self._plan.slide_at + 1 - self._length())

    def _slide(self, kept: int) -> None:
        """Go on with the last tokens alone: their positions are others now, so that they are computed again."""
        self._given = [*self._history.prompt, *self.tokens][-kept:]
        self._first = len(self.tokens)
        self._cache, self._held = Cache(), 0

    def _share(self, logits: Logits) -> None:
        if self._prompt.shared and self._prompt.filled is None:
            self._prompt.filled = self._cache.fork(), logits
            self._prompt.filling = False

    def _take_first(self, logits: Logits) -> None:
        if self._plan.lookup and self._lookup is None:
            self._lookup = PromptLookup(self._prompt.tokens)
        self._learn(0, [self._draw(logits)])

    def _learn(self, drafted: int, drawn: list[int]) -> None:
        if self._lookup is None:
            return
        if drafted:
            self._lookup.learn(drafted, len(drawn) - 1)
        for token in drawn:
            self._lookup.push(token)

    def _draw(self, logits: Logits) -> int:  # [V]
        token = choose(logits, self._plan.sampling, self._rng, self._history)
        if token == self._plan.eos_token_id:
            self.finish_reason = "stop"
            return token
        if self._plan.with_logprobs:
            self.logprobs.append(logprob(logits, token))
        self.tokens.append(token)
        if len(self.tokens) == self._plan.most:
            self.finish_reason = "length"
        if self._on_token(token):
            self.finish_reason = "stop"
        return token


class Reading:
    """A text that is read: `use` gets each place from `first` on with the logits behind it."""

    def __init__(
        self,
        tokens: Sequence[int],
        first: int,
        recent: Recent,
        use: Callable[[int, Logits], None],
        on_end: Callable[["Reading"], None],
    ) -> None:
        self.error: Exception | None = None
        self.positions = len(tokens)
        self._tokens, self._first = tokens, first
        self._recent, self._use, self._on_end = recent, use, on_end
        self._cache = Cache()
        self._held = 0
        self._row = Row(self._cache, tokens)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""
        return self._held == len(self._tokens)

    def is_ready(self) -> bool:
        """Tell whether it can enter: always."""
        return True

    def enter(self) -> None:
        """Begin, with what is computed already."""
        if self._first:
            self._cache, kept = self._recent.start(self._tokens)
            self._held = min(kept, self._first)

    def needs(self) -> int:
        """Return how many tokens have to be computed."""
        return len(self._tokens) - self._held

    def next_row(self, most: int) -> Row:
        """Return what to compute, `most` tokens at most."""
        stop = self._held + min(most, self.needs())
        if stop > self._first:
            stop = min(stop, max(self._held, self._first) + MOST_LOGITS)
        wanted = range(max(self._first - self._held, 0), stop - self._held)
        self._row = Row(self._cache, self._tokens[self._held : stop], self._held, wanted)
        return self._row

    def take(self, logits: Logits) -> None:  # [W, V]
        """Hand on the logits of the row that was computed."""
        for place, behind in zip(self._row.wanted, logits, strict=True):
            self._use(self._held + place, behind)
        self._held += len(self._row.tokens)

    def end(self, error: Exception | None) -> None:
        """Leave; error: why, where it is not done."""
        self.error = error
        self._recent.add(self._cache)
        self._on_end(self)


def logprob(logits: Logits, token: int) -> float:  # [V] ->
    """Return the logarithm of a token's probability."""
    shifted = logits - logits.max()
    own = float(shifted[token])
    return own - math.log(float(np.exp(shifted, out=shifted).sum()))
