"""Requests of the scheduler: one sequence to continue (GenerateRequest), or one to score (ScoreRequest).

Token ids in, token ids out. Letters: W positions of a step whose logits are returned, V vocabulary.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.engine.sequence import Logits, SequenceCache, StepInput
from gpt2_text_prediction.generation.counter_rng import CounterRng
from gpt2_text_prediction.generation.logits_processors import NO_IDS, History
from gpt2_text_prediction.generation.prompt_lookup import PromptLookup
from gpt2_text_prediction.generation.sampling import Sampling, choose

MAX_LOGITS = 128
"""Most positions of a step of a ScoreRequest, which wants the logits of all: each has V numbers."""


class Prompt:
    """A prompt that several samples continue: the first of them computes it, the others fork its cache."""

    def __init__(self, tokens: Sequence[int], samples: int = 1) -> None:
        self.tokens = tokens
        self.shared = samples > 1
        self.is_computing = False
        self.computed: tuple[SequenceCache, Logits] | None = None  # with the logits after its last token, [V]


@dataclass(frozen=True)
class RequestParams:
    """How a sample is drawn; ending_ids: the tokens that end it before max_new_tokens.

    unused_ids: see History.

    slide_at: context length at which the sequence is cut to its last half and recomputed; None: no sliding window.
    """

    sampling: Sampling
    seed: tuple[int, int, int]  # (seed, number of the prompt, number of the sample), for CounterRng
    max_new_tokens: int
    ending_ids: Sequence[int] = ()
    prompt_lookup: bool = False
    with_logprobs: bool = False
    slide_at: int | None = None
    unused_ids: npt.NDArray[np.int64] = field(default_factory=lambda: NO_IDS, compare=False)


class GenerateRequest:
    """One sample. tokens and logprobs grow; finish_reason and error are None until it ends.

    on_token is called with each token; where it returns True, that token ends the text.
    """

    def __init__(
        self,
        prompt: Prompt,
        params: RequestParams,
        prefix_cache: PrefixCache,
        on_end: Callable[["GenerateRequest"], None],
        on_token: Callable[[int], bool | None] = lambda token: None,
    ) -> None:
        self.tokens: list[int] = []  # without the one that ends the text
        self.logprobs: list[float] = []  # of the model's own distribution, before any logits processor
        self.finish_reason: str | None = None
        self.error: BaseException | None = None
        self.positions = min(len(prompt.tokens) + params.max_new_tokens, params.slide_at or sys.maxsize)
        self._prompt = prompt
        self._params = params
        self._prefix_cache = prefix_cache
        self._on_end, self._on_token = on_end, on_token
        self._rng = CounterRng(*params.seed)
        self._history = History(prompt.tokens, self.tokens, params.ending_ids, params.unused_ids)
        self._cache = SequenceCache()
        self._context: Sequence[int] = prompt.tokens  # what comes before the new tokens from _first on
        self._first = 0
        self._num_computed_tokens = 0  # of the context and the new tokens, those in the KV cache
        self._scheduled: list[int] = []  # the tokens of this step
        self._lookup: PromptLookup | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""
        return self.finish_reason is not None

    def is_ready(self) -> bool:
        """Return whether it can start: not while another sample computes its prompt."""
        return not self._prompt.is_computing

    def start(self) -> None:
        """Start, with what is computed already."""
        if self._prompt.computed is None:
            self._prompt.is_computing = self._prompt.shared
            self._cache, self._num_computed_tokens = self._prefix_cache.lookup(self._prompt.tokens)
        else:
            cache, logits = self._prompt.computed
            self._cache, self._num_computed_tokens = cache.fork(), len(cache.tokens)
            self._sample_first(logits)

    def num_tokens_to_compute(self) -> int:
        """Return how many tokens have to be computed before the next one can be drawn."""
        return self._length() - self._num_computed_tokens

    def next_input(self, max_tokens: int) -> StepInput:
        """Return what to compute next, max_tokens at most: a chunk of the prompt, or the last token and a draft."""
        computed = self._num_computed_tokens
        if computed < len(self._context):
            self._scheduled = list(self._context[computed : computed + max_tokens])
            # Only the prompt's last chunk wants logits, those after its last token.
            indices = [-1] * (len(self._scheduled) == self.num_tokens_to_compute())
            return StepInput(self._cache, self._scheduled, computed, indices)
        draft = self._lookup.draft(min(max_tokens, self._room()) - 1) if self._lookup else []
        self._scheduled = [self.tokens[-1], *draft]
        return StepInput(self._cache, self._scheduled, computed, range(len(self._scheduled)))

    def process_logits(self, logits: Logits) -> None:  # [W, V]
        """Draw a token, and accept draft tokens as long as each is the one drawn."""
        if self._num_computed_tokens < len(self._context):
            self._num_computed_tokens += len(self._scheduled)
            if len(logits):
                self._share_prompt(logits[0])
                self._sample_first(logits[0])
            return
        draft = self._scheduled[1:]
        drawn = [self._sample(logits[0])]
        for drafted, logits_after in zip(draft, logits[1:], strict=True):
            if self.done or drawn[-1] != drafted:
                break
            drawn.append(self._sample(logits_after))
        self._num_computed_tokens += len(drawn)  # the rejected rest of the draft is dropped by the next input
        self._update_lookup(len(draft), drawn)
        if self._params.slide_at is not None and self._length() > self._params.slide_at:
            self._slide(self._params.slide_at // 2)

    def end(self, error: BaseException | None) -> None:
        """End; error: why, where it is not done."""
        self.error = error
        if self._prompt.computed is None:
            self._prompt.is_computing = False  # another sample may compute it
        self._prefix_cache.add(self._cache)
        self._on_end(self)

    def _length(self) -> int:
        return len(self._context) + len(self.tokens) - self._first

    def _room(self) -> int:
        """Return how many tokens may be computed at once, the last one drawn among them."""
        left = self._params.max_new_tokens - len(self.tokens)
        return left if self._params.slide_at is None else min(left, self._params.slide_at + 1 - self._length())

    def _slide(self, num_kept: int) -> None:
        """Go on with the last tokens alone: their positions change, so that they are computed again."""
        self._context = [*self._history.prompt, *self.tokens][-num_kept:]
        self._first = len(self.tokens)
        self._cache, self._num_computed_tokens = SequenceCache(), 0

    def _share_prompt(self, logits: Logits) -> None:
        if self._prompt.shared and self._prompt.computed is None:
            self._prompt.computed = self._cache.fork(), logits
            self._prompt.is_computing = False

    def _sample_first(self, logits: Logits) -> None:
        if self._params.prompt_lookup and self._lookup is None:
            self._lookup = PromptLookup(self._prompt.tokens)
        self._update_lookup(0, [self._sample(logits)])

    def _update_lookup(self, num_drafted: int, drawn: list[int]) -> None:
        if self._lookup is None:
            return
        if num_drafted:
            self._lookup.learn(num_drafted, len(drawn) - 1)
        for token in drawn:
            self._lookup.push(token)

    def _sample(self, logits: Logits) -> int:  # [V]
        # Counted from the prompt's beginning, so that a text that goes on as a longer prompt draws the same numbers.
        position = len(self._history.prompt) + len(self.tokens)
        token = choose(logits, self._params.sampling, self._rng.at(position), self._history)
        if token in self._params.ending_ids:
            self.finish_reason = "stop"
            return token
        if self._params.with_logprobs:
            self.logprobs.append(logprob(logits, token))
        self.tokens.append(token)
        if len(self.tokens) == self._params.max_new_tokens:
            self.finish_reason = "length"
        if self._on_token(token):
            self.finish_reason = "stop"
        return token


class ScoreRequest:
    """A text that is read: on_logits gets each position from `first` on with the logits after it, [V]."""

    def __init__(
        self,
        tokens: Sequence[int],
        first: int,
        prefix_cache: PrefixCache,
        on_logits: Callable[[int, Logits], None],
        on_end: Callable[["ScoreRequest"], None],
    ) -> None:
        self.error: BaseException | None = None
        self.positions = len(tokens)
        self._tokens, self._first = tokens, first
        self._prefix_cache, self._on_logits, self._on_end = prefix_cache, on_logits, on_end
        self._cache = SequenceCache()
        self._num_computed_tokens = 0
        self._scheduled = StepInput(self._cache, tokens)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""
        return self._num_computed_tokens == len(self._tokens)

    def is_ready(self) -> bool:
        """Return whether it can start: always."""
        return True

    def start(self) -> None:
        """Start, with what is computed already."""
        if self._first:
            self._cache, computed = self._prefix_cache.lookup(self._tokens)
            self._num_computed_tokens = min(computed, self._first)

    def num_tokens_to_compute(self) -> int:
        """Return how many tokens have to be computed."""
        return len(self._tokens) - self._num_computed_tokens

    def next_input(self, max_tokens: int) -> StepInput:
        """Return what to compute next, max_tokens at most."""
        computed = self._num_computed_tokens
        stop = computed + min(max_tokens, self.num_tokens_to_compute())
        if stop > self._first:
            stop = min(stop, max(computed, self._first) + MAX_LOGITS)
        indices = range(max(self._first - computed, 0), stop - computed)
        self._scheduled = StepInput(self._cache, self._tokens[computed:stop], computed, indices)
        return self._scheduled

    def process_logits(self, logits: Logits) -> None:  # [W, V]
        """Hand on the logits of the last input."""
        for index, logits_after in zip(self._scheduled.logits_indices, logits, strict=True):
            self._on_logits(self._num_computed_tokens + index, logits_after)
        self._num_computed_tokens += len(self._scheduled.tokens)

    def end(self, error: BaseException | None) -> None:
        """End; error: why, where it is not done."""
        self.error = error
        self._prefix_cache.add(self._cache)
        self._on_end(self)


def logprob(logits: Logits, token: int) -> float:  # [V] ->
    """Return the logarithm of a token's probability."""
    shifted = logits - logits.max()
    own = float(shifted[token])
    return own - math.log(float(np.exp(shifted, out=shifted).sum()))
