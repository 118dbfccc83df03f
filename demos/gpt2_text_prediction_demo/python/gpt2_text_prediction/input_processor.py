"""From a prompt to a request of the scheduler: its token ids, and how many new tokens fit after them.

This is the only place that decides what fits into the model's positions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.generation.logits_processors import (
    LogitsProcessors,
    drawn_never,
    require_known,
    require_lengths,
)
from gpt2_text_prediction.generation.request import GenerateRequest, Prompt, RequestParams
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.text.stopping import TextRules
from gpt2_text_prediction.text.tokenizer import END_OF_TEXT, GPT2Tokenizer

COUNTED_AT_ONCE = 1 << 17
"""Bytes of which the tokens are always counted; of a longer text that cannot fit, BPE would take minutes."""
NO_RULES = TextRules()


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
class ProcessedPrompt:
    """A prompt as the model gets it: tokens, at least one, of whose text truncated_chars were cut at the beginning.

    params: of its requests, but for the seed. fills_positions: whether generation is limited by the model's positions
    rather than by max_new_tokens.
    """

    tokens: list[int]
    truncated_chars: int
    params: RequestParams
    fills_positions: bool
    prefix_cache: PrefixCache

    def request(
        self,
        prompt: Prompt,
        seed: tuple[int, int, int],
        on_end: Callable[[GenerateRequest], None],
        on_token: Callable[[int], bool | None],
        with_logprobs: bool = False,
    ) -> GenerateRequest:
        """Return a request for one sample; prompt: this one's, which all its samples share."""
        params = replace(self.params, seed=seed, with_logprobs=with_logprobs)
        return GenerateRequest(prompt, params, self.prefix_cache, on_end, on_token)


class InputProcessor:
    """Tokenizes prompts for one model and checks that they fit."""

    def __init__(self, tokenizer: GPT2Tokenizer, limits: Limits, prefix_cache: PrefixCache) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._prefix_cache = prefix_cache

    def process(self, prompt: str, sampling: Sampling, max_new_tokens: int, rules: TextRules) -> ProcessedPrompt:
        """Return a prompt's tokens and the parameters of its requests.

        Raises Problem for a prompt that is too long or not valid Unicode, and for settings that the model cannot
        follow.
        """
        self.check(sampling, max_new_tokens)
        tokens, truncated_chars = self.fitting_tokens(prompt, rules, max_new_tokens)
        processed = self.process_tokens(tokens, sampling, max_new_tokens, rules)
        return replace(processed, truncated_chars=truncated_chars)

    def process_tokens(
        self, tokens: list[int], sampling: Sampling, max_new_tokens: int, rules: TextRules = NO_RULES
    ) -> ProcessedPrompt:
        """Do as process for token ids, at least one, that leave room for a new one."""
        limits = self._limits
        slides = rules.context_overflow == "slide"
        room = limits.n_positions - len(tokens)
        ending_ids = sampling.ending_ids(limits.eos_token_ids)
        params = RequestParams(
            sampling,
            (0, 0, 0),
            max_new_tokens if slides else min(max_new_tokens, room),
            ending_ids,
            limits.prompt_lookup,
            slide_at=limits.n_positions if slides else None,
            unused_ids=drawn_never(limits.unused_ids, ending_ids),
        )
        return ProcessedPrompt(tokens, 0, params, not slides and room <= max_new_tokens, self._prefix_cache)

    def check(self, settings: LogitsProcessors, max_new_tokens: int, kind: type[LogitsProcessors] = Sampling) -> None:
        """Raise Problem for settings that are not of the kind, name unknown tokens or contradict max_new_tokens."""
        _require(kind, settings)
        require_lengths(settings, max_new_tokens)
        require_known(settings, self._limits.vocab_size)

    def prompt_tokens(self, prompt: str, rules: TextRules = NO_RULES) -> list[int]:
        """Return the ids of a prompt that leaves room for a token after it, else raise Problem."""
        fits = self._limits.n_positions - 1
        tokens = self.encode(prompt, fits, ("the prompt has", ", with room for one new"), rules)
        return tokens or [self.start_token("the prompt is empty")]

    def start_token(self, reason: str) -> int:
        """Return the token that starts a text; raise Problem where there is none. reason: why it is needed."""
        if self._limits.bos_token_id is None:
            raise Problem(f"{reason}, and the vocabulary has no {END_OF_TEXT} to start a text with")
        return self._limits.bos_token_id

    def fitting_tokens(self, prompt: str, rules: TextRules, max_new_tokens: int) -> tuple[list[int], int]:
        """Return the ids of the part of a prompt that fits, and how many characters were cut at its beginning.

        Rules that let it be cut keep its last max(N - max_new_tokens, N / 2) tokens, of N positions.
        Raises Problem as prompt_tokens does.
        """
        _require(str, prompt)
        _require(TextRules, rules)
        if rules.context_overflow == "error":
            return self.prompt_tokens(prompt, rules), 0
        n_positions = self._limits.n_positions
        fits = max(n_positions - max_new_tokens, n_positions // 2)
        most_chars = max(fits * self._tokenizer.longest_token, COUNTED_AT_ONCE)
        tokens = self._encode(prompt[-most_chars:], rules)
        if len(tokens) <= fits and len(prompt) <= most_chars:
            return self.prompt_tokens(prompt, rules), 0
        kept = tokens[-fits:]
        return kept, max(0, len(prompt) - len(self._tokenizer.decode(kept)))

    def encode(self, text: str, fits: int, words: tuple[str, str], rules: TextRules = NO_RULES) -> list[int]:
        """Return the ids of a text, else raise Problem where there are more than fit.

        words: of the message, before the number of tokens and after the number that fits.
        """
        _require(str, text)
        has, why = words
        size = len(text.encode(errors="replace"))
        if size > max(fits * self._tokenizer.longest_token, COUNTED_AT_ONCE):
            raise Problem(f"{has} {size} bytes; at most {fits} tokens fit{why}: shorten it")
        tokens = self._encode(text, rules)
        if len(tokens) > fits:
            raise Problem(f"{has} {len(tokens)} tokens; at most {fits} fit{why}: shorten it")
        return tokens

    def _encode(self, text: str, rules: TextRules) -> list[int]:
        """Return the ids of a whole text, with the tokens that the tokenizer puts around one."""
        return self._tokenizer.encode(text, rules.parse_special, added_tokens=rules.added_tokens, template=True)


def _require(kind: type, value: object) -> None:
    """Raise Problem for a value of a wrong type, from Python; the command line only makes right ones."""
    if not isinstance(value, kind):
        raise Problem(f"expected a {kind.__name__}, got {type(value).__name__}: {shown(value)}")
