"""From a prompt to a request of the scheduler: its token ids, and how many new tokens fit after them.

This is the only place that decides what fits into the model's positions: of P tokens and N new ones the last is never
computed, so that P + N - 1 positions are needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.generation.beam_search import BeamParams, BeamRequest, Beams
from gpt2_text_prediction.generation.logits_processors import (
    drawn_never,
    require_known,
    require_lengths,
)
from gpt2_text_prediction.generation.request import GenerateRequest, NewToken, Prompt, RequestParams, TokenCounts
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.text.stopping import StoppingDetokenizer, TextRules
from gpt2_text_prediction.text.tokenizer import END_OF_TEXT, GPT2Tokenizer

COUNTED_AT_ONCE = 1 << 17
"""Bytes of which the tokens are always counted; of a longer text that cannot fit, BPE would take minutes."""
NO_RULES = TextRules()
TextOrIds: TypeAlias = str | Sequence[int]
"""A prompt: its text, or its token ids."""


@dataclass(frozen=True)
class Limits:
    """What a model allows: positions for prompt and new tokens together, ids below vocab_size.

    unused_ids: of them, those that are no token.
    """

    n_positions: int
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    unused_ids: npt.NDArray[np.int64]
    prompt_lookup: bool


@dataclass(frozen=True)
class Shared:
    """What all requests of a generator share."""

    prefix_cache: PrefixCache = field(default_factory=PrefixCache)
    counts: TokenCounts = field(default_factory=TokenCounts)


@dataclass(frozen=True)
class ProcessedPrompt:
    """A prompt as the model gets it: tokens, of whose text truncated_chars were cut at the beginning.

    how: as it is continued; max_new_tokens: as many as fit. fills_positions: whether that is less than was asked for,
    or just as many.
    """

    tokens: list[int]
    truncated_chars: int
    how: Sampling | Beams
    rules: TextRules
    max_new_tokens: int
    fills_positions: bool
    inputs: "InputProcessor"

    @cached_property
    def ending_ids(self) -> Sequence[int]:
        """The tokens that end its texts."""
        return self.how.ending_ids(self.inputs.limits.eos_token_ids)

    def sample(
        self,
        prompt: Prompt,
        seed: tuple[int, int, int],
        logprobs: int | None,
        deadline: float | None,
        *,
        on_end: Callable[[GenerateRequest], None],
        on_token: Callable[[NewToken], bool | None],
    ) -> GenerateRequest:
        """Return a request for one sample; prompt: this one's, which all its samples share. Others as in its params."""
        assert isinstance(self.how, Sampling)
        limits, shared = self.inputs.limits, self.inputs.shared
        params = RequestParams(
            self.how,
            seed,
            self.max_new_tokens,
            self.ending_ids,
            limits.prompt_lookup,
            logprobs,
            deadline,
            limits.n_positions if self.rules.context_overflow == "slide" else None,
            drawn_never(limits.unused_ids, self.ending_ids),
        )
        return GenerateRequest(prompt, params, shared.prefix_cache, on_end, on_token, shared.counts)

    def search(
        self,
        prompt: Prompt,
        logprobs: int | None,
        deadline: float | None,
        *,
        on_end: Callable[[BeamRequest], None],
        on_step: Callable[[int], None],
    ) -> BeamRequest:
        """Return a request for the beams."""
        assert isinstance(self.how, Beams)
        limits = self.inputs.limits
        params = BeamParams(
            self.how,
            self.max_new_tokens,
            self.ending_ids,
            self.detokenizer() if self.rules.stop or self.rules.stop_at else None,
            logprobs,
            deadline,
            drawn_never(limits.unused_ids, self.ending_ids),
        )
        shared = self.inputs.shared
        return BeamRequest(prompt, params, shared.prefix_cache, on_end, on_step, shared.counts)

    def detokenizer(self) -> StoppingDetokenizer:
        """Return what makes the text of a sample, and says where it stops."""
        return StoppingDetokenizer(self.inputs.tokenizer, self.rules, self.how.min_new_tokens)


class InputProcessor:
    """Tokenizes prompts for one model and checks that they fit."""

    def __init__(self, tokenizer: GPT2Tokenizer, limits: Limits, shared: Shared) -> None:
        self.tokenizer = tokenizer
        self.limits = limits
        self.shared = shared

    def process(
        self, prompt: TextOrIds, how: Sampling | Beams, max_new_tokens: int, rules: TextRules
    ) -> ProcessedPrompt:
        """Return a prompt's tokens, and how many new ones fit after them.

        Raises Problem for a prompt that is too long, not valid Unicode or has ids that are no token, and for settings
        that the model cannot follow.
        """
        require_lengths(how, max_new_tokens)
        require_known(how, self.limits.vocab_size)
        slides = rules.context_overflow == "slide"
        if isinstance(how, Beams) and slides:
            raise Problem('context_overflow: beams cannot slide: expected "error" or "truncate"')
        if isinstance(how, Beams) and max_new_tokens == 0:
            raise Problem("max_new_tokens: expected at least 1 for beams, got 0")
        tokens, truncated_chars = self._fitting_tokens(prompt, rules, max_new_tokens)
        room = self.limits.n_positions + 1 - len(tokens)
        most = max_new_tokens if slides else min(max_new_tokens, room)
        return ProcessedPrompt(tokens, truncated_chars, how, rules, most, not slides and room <= max_new_tokens, self)

    def prompt_tokens(self, prompt: TextOrIds, rules: TextRules = NO_RULES, max_new_tokens: int = 1) -> list[int]:
        """Return the ids of a prompt that leaves room for a token after it, where there is to be one.

        Raises Problem as process does.
        """
        fits = self.limits.n_positions + (max_new_tokens == 0)
        tokens = self.encode(prompt, fits, "the prompt has", rules)
        return tokens or [self.start_token("the prompt is empty")]

    def start_token(self, reason: str) -> int:
        """Return the token that starts a text; raise Problem where there is none. reason: why it is needed."""
        if self.limits.bos_token_id is None:
            raise Problem(f"{reason}, and the vocabulary has no {END_OF_TEXT} to start a text with")
        return self.limits.bos_token_id

    def _fitting_tokens(self, prompt: TextOrIds, rules: TextRules, max_new_tokens: int) -> tuple[list[int], int]:
        """Return the ids of the part of a prompt that fits, and how many characters were cut at its beginning.

        Rules that let it be cut keep its last max(N + 1 - max_new_tokens, N / 2) tokens, of N positions.
        Of a prompt of ids, tokens are counted in place of characters. Raises Problem as prompt_tokens does.
        """
        if rules.context_overflow == "error":
            return self.prompt_tokens(prompt, rules, max_new_tokens), 0
        n_positions = self.limits.n_positions
        fits = max(n_positions + 1 - max_new_tokens, n_positions // 2)
        if not isinstance(prompt, str):
            ids = self._checked_ids(prompt)
            return ids[-fits:] or self.prompt_tokens(ids), max(0, len(ids) - fits)
        most_chars = max(fits * self.tokenizer.longest_token, COUNTED_AT_ONCE)
        tokens = self._encode(prompt[-most_chars:], rules)
        if len(tokens) <= fits and len(prompt) <= most_chars:
            return self.prompt_tokens(prompt, rules, max_new_tokens), 0
        kept = tokens[-fits:]
        text = self.tokenizer.decode(kept)
        if not prompt.endswith(text):  # the first token has the end of a character, which is not read
            text = text.lstrip("\N{REPLACEMENT CHARACTER}")
        return kept, max(0, len(prompt) - len(text))

    def encode(self, text: TextOrIds, fits: int, has: str, rules: TextRules = NO_RULES) -> list[int]:
        """Return the ids of a text, else raise Problem where there are more than fit. has: "the text has", of it."""
        if not isinstance(text, str):
            tokens = self._checked_ids(text)
        else:
            size = len(text.encode(errors="replace"))
            if size > max(fits * self.tokenizer.longest_token, COUNTED_AT_ONCE):
                raise Problem(f"{has} {size} bytes; at most {fits} tokens fit: shorten it")
            tokens = self._encode(text, rules)
        if len(tokens) > fits:
            raise Problem(f"{has} {len(tokens)} tokens; at most {fits} fit: shorten it")
        return tokens

    def _encode(self, text: str, rules: TextRules) -> list[int]:
        """Return the ids of a whole text, with the tokens that the tokenizer puts around one."""
        return self.tokenizer.encode(text, rules.parse_special, added_tokens=rules.added_tokens, template=True)

    def _checked_ids(self, ids: Sequence[int]) -> list[int]:
        """Return token ids; raise Problem for what is none of the model's."""
        try:
            if (
                not isinstance(ids, Sequence | np.ndarray)
                or isinstance(ids, bytes | bytearray | memoryview)
                or bool in map(type, ids)
            ):
                raise TypeError
            found = [index(each) for each in ids]
        except TypeError:
            raise Problem(f"expected a text or token ids, got {type(ids).__name__}: {shown(ids)}") from None
        most = self.limits.vocab_size - 1
        for token in found:
            if not 0 <= token <= most or token in self.limits.unused_ids:
                raise Problem(f"expected token ids of 0 .. {most}, got {shown(token)}, which is no token of the model")
        return found
