"""A request of the scheduler: one sequence, read and continued. Token ids in, token ids out.

Letters: P tokens of a prompt, N new ones, W positions of a step whose logits are returned, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.engine.sequence import Logits, SequenceCache, StepInput
from gpt2_text_prediction.generation.counter_rng import CounterRng
from gpt2_text_prediction.generation.logits_processors import NO_IDS, History
from gpt2_text_prediction.generation.logprobs import TopLogprobs, token_logprobs
from gpt2_text_prediction.generation.prompt_lookup import PromptLookup
from gpt2_text_prediction.generation.sampling import Sampling, choose

MAX_LOGITS = 128
"""Most positions of a step of a prompt whose logits are wanted: each has V numbers."""

FinishReason: TypeAlias = Literal["stop", "length", "time", "cancelled"]
"""Why a text has ended: at a token, string or place that ends it; at max_new_tokens or the model's positions; at
max_time; or because its caller has cancelled it."""


class NewToken(NamedTuple):
    """A token as it was drawn. finish_reason: where it is the last, why.

    logprob, top_logprobs: in the model's own distribution, before any setting; None and empty unless asked for.
    """

    id: int
    logprob: float | None = None
    top_logprobs: TopLogprobs = ()
    finish_reason: FinishReason | None = None


@dataclass
class TokenCounts:
    """Tokens of all requests of a generator so far.

    prefix_hits: of prompts, that were found in a PrefixCache. drafted: by prompt lookup; accepted: the right ones.
    """

    prompt: int = 0
    prefix_hits: int = 0
    new: int = 0
    drafted: int = 0
    accepted: int = 0


class Prompt:
    """A prompt that several samples continue: the first of them computes it, the others fork its cache.

    wanted: the positions whose logits on_logits gets, [V] each. Where the first sample is cancelled, it may get some of
    them twice.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        samples: int = 1,
        wanted: range = range(0),
        on_logits: Callable[[int, Logits], None] = lambda position, logits: None,
    ) -> None:
        self.tokens = tokens
        self.shared = samples > 1
        self._samples = samples
        self.wanted, self.on_logits = wanted, on_logits
        self.is_computing = False
        self.computed: tuple[SequenceCache, Logits] | None = None  # with the logits after its last token, [V]

    def lookup(self, prefix_cache: PrefixCache, counts: TokenCounts) -> tuple[SequenceCache, int]:
        """Return a cache to compute the prompt in, and how many of its tokens that has already."""
        counts.prompt += len(self.tokens)
        if self.wanted and not self.wanted.start:  # logits that are wanted have to be computed
            return SequenceCache(), 0
        cache, computed = prefix_cache.lookup(self.tokens)
        computed = min(computed, self.wanted.start) if self.wanted else computed
        counts.prefix_hits += computed
        return cache, computed

    def let_go(self) -> None:
        """Take note that a sample has ended; after the last one, what they shared is let go."""
        self._samples -= 1
        if self._samples <= 0:
            self.computed = None

    def hand_on(self, start: int, stop: int, logits: Logits) -> None:  # [W, V]
        """Give on_logits those that are wanted, of a step that has computed the tokens from start to stop."""
        for position, logits_after in zip(_part(self.wanted, start, stop), logits, strict=False):
            self.on_logits(position, logits_after)


def chunk(
    cache: SequenceCache, tokens: Sequence[int], start: int, max_tokens: int, *, wanted: range, wants_last: bool
) -> StepInput:
    """Return the next tokens of a prompt, with the positions whose logits are wanted, and its last if wants_last."""
    stop = min(start + max_tokens, len(tokens))
    if wanted and stop > wanted.start:
        stop = min(stop, max(start, wanted.start) + MAX_LOGITS)
    positions = list(_part(wanted, start, stop))
    if wants_last and stop == len(tokens) and stop - 1 not in wanted:
        positions.append(stop - 1)
    return StepInput(cache, list(tokens[start:stop]), start, [position - start for position in positions])


def _part(positions: range, start: int, stop: int) -> range:
    return range(max(start, positions.start), min(stop, positions.stop))


@dataclass(frozen=True)
class RequestParams:
    """How a sample is drawn; ending_ids: the tokens that end it before max_new_tokens, which may be 0.

    logprobs: None for none, else how many of the likeliest tokens are told beside the one drawn. deadline: see Request.
    unused_ids: see History.
    slide_at: context length at which the sequence is cut to its last half and recomputed; None: no sliding window.
    """

    sampling: Sampling
    seed: tuple[int, int, int]  # (seed, number of the prompt, number of the sample), for CounterRng
    max_new_tokens: int
    ending_ids: Sequence[int] = ()
    prompt_lookup: bool = False
    logprobs: int | None = None
    deadline: float | None = None
    slide_at: int | None = None
    unused_ids: npt.NDArray[np.int64] = field(default_factory=lambda: NO_IDS, compare=False)


class GenerateRequest:
    """One sample. tokens grow, the one that ends it among them; finish_reason and error are None until it ends.

    on_token is called with each token; where it returns True, that token ends the text. counts: of all requests.
    """

    num_seqs = 1

    def __init__(
        self,
        prompt: Prompt,
        params: RequestParams,
        prefix_cache: PrefixCache,
        on_end: Callable[["GenerateRequest"], None],
        on_token: Callable[[NewToken], bool | None] = lambda token: None,
        counts: TokenCounts | None = None,
    ) -> None:
        self.tokens: list[int] = []
        self.error: BaseException | None = None
        self.deadline = params.deadline
        is_read_only = params.max_new_tokens == 0
        # A text without new tokens is computed only as far as its logits are wanted.
        to_compute = prompt.tokens[: prompt.wanted.stop] if is_read_only else prompt.tokens
        self.finish_reason: FinishReason | None = None if to_compute else "length"
        self._prompt = prompt
        self._counts = counts or TokenCounts()
        self._params = params
        self._prefix_cache = prefix_cache
        self._on_end, self._on_token = on_end, on_token
        self._rng = CounterRng(*params.seed)
        self._history = History(prompt.tokens, self.tokens, params.ending_ids, params.unused_ids)
        self._cache = SequenceCache()
        self._context = to_compute  # what comes before the new tokens from _first on
        self._wanted = prompt.wanted  # of the context
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
        if self.done:
            return
        if self._prompt.computed is None:
            self._prompt.is_computing = self._prompt.shared
            self._cache, self._num_computed_tokens = self._prompt.lookup(self._prefix_cache, self._counts)
        else:
            cache, logits = self._prompt.computed
            self._cache, self._num_computed_tokens = cache.fork(), len(cache.tokens)
            self._sample_first(logits)

    def lengths(self) -> Sequence[int]:
        """Return how many tokens it has now."""
        return [self._length()]

    def num_tokens_to_compute(self) -> int:
        """Return how many tokens have to be computed before the next one can be drawn."""
        return self._length() - self._num_computed_tokens

    def next_inputs(self, max_tokens: int) -> list[StepInput]:
        """Return what to compute next, max_tokens at most: a chunk of the prompt, or the last token and a draft."""
        computed = self._num_computed_tokens
        if computed < len(self._context):
            is_new = self._params.max_new_tokens > 0
            step = chunk(self._cache, self._context, computed, max_tokens, wanted=self._wanted, wants_last=is_new)
            self._scheduled = list(step.tokens)
            return [step]
        draft = self._lookup.draft(min(max_tokens, self._room()) - 1) if self._lookup else []
        self._scheduled = [self.tokens[-1], *draft]
        return [StepInput(self._cache, self._scheduled, computed, range(len(self._scheduled)))]

    def process_logits(self, logits: list[Logits]) -> None:  # one of [W, V]
        """Draw a token, and accept draft tokens as long as each is the one drawn."""
        (own,) = logits
        if self._num_computed_tokens < len(self._context):
            self._process_chunk(own)
            return
        drawn: list[int] = []
        draft = self._scheduled[1:]
        for drafted, logits_after in zip([*draft, None], own, strict=True):
            drawn.append(self._sample(logits_after))
            if self.done or drawn[-1] != drafted:
                break
        self._num_computed_tokens += len(drawn)  # the rejected rest of the draft is dropped by the next input
        self._update_lookup(len(draft), drawn)
        if self._params.slide_at is not None and self._length() > self._params.slide_at:
            self._slide(self._params.slide_at // 2)

    def _process_chunk(self, logits: Logits) -> None:  # [W, V]
        start = self._num_computed_tokens
        self._num_computed_tokens += len(self._scheduled)
        if self._wanted:
            self._prompt.hand_on(start, self._num_computed_tokens, logits)
        if self._num_computed_tokens < len(self._context):
            return
        if self._params.max_new_tokens == 0:
            self.finish_reason = "length"
            return
        self._share_prompt(logits[-1])
        self._sample_first(logits[-1])

    def expire(self) -> None:
        """Be done with the tokens that there are."""
        self.finish_reason = "time"

    def end(self, error: BaseException | None) -> None:
        """End; error: why, where it is not done."""
        self.error = error
        if self._prompt.computed is None:
            self._prompt.is_computing = False  # another sample may compute it
        self._prompt.let_go()
        self._prefix_cache.add(self._cache)
        # A request that is kept for its tokens must hold neither blocks nor each run of its prompt.
        self._cache, self._lookup = SequenceCache(), None
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
        self._cache, self._num_computed_tokens, self._wanted = SequenceCache(), 0, range(0)

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
            self._counts.drafted += num_drafted
            self._counts.accepted += len(drawn) - 1
        for token in drawn:
            self._lookup.push(token)

    def _sample(self, logits: Logits) -> int:  # [V]
        # Counted from the prompt's beginning, so that a text that goes on as a longer prompt draws the same numbers.
        position = len(self._history.prompt) + len(self.tokens)
        token = choose(logits, self._params.sampling, self._rng.at(position), self._history)
        self.tokens.append(token)
        self._counts.new += 1
        if token in self._params.ending_ids:
            self.finish_reason = "stop"
        elif len(self.tokens) == self._params.max_new_tokens:
            self.finish_reason = "length"
        if self._on_token(self._new_token(token, logits)):
            self.finish_reason = "stop"
        return token

    def _new_token(self, token: int, logits: Logits) -> NewToken:  # [V]
        if self._params.logprobs is None:
            return NewToken(token, None, (), self.finish_reason)
        found = token_logprobs(logits, token, self._params.logprobs, self._params.unused_ids)
        return NewToken(token, *found, self.finish_reason)
