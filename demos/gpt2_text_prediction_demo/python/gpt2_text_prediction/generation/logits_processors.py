"""Logits processors: bias, penalties and bans, applied to the logits before a token is drawn.

Names, meaning and order are those of Hugging Face's transformers: logit_bias (its SequenceBiasLogitsProcessor),
repetition_penalty, no_repeat_ngram_size, bad_words_ids, min_new_tokens. presence_penalty and frequency_penalty, which
it lacks, are OpenAI's; they come after repetition_penalty, as in vLLM.
Letters: V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.settings import LARGEST, SETTINGS, check_fields, default, is_number, is_whole

NO_IDS = np.empty(0, np.int64)


class History(NamedTuple):
    """The tokens before the next one; ending_ids: the tokens that end the text.

    unused_ids: ids that are no token, of a model whose embedding has more rows than its tokenizer tokens.
    """

    prompt: Sequence[int] = ()
    new: Sequence[int] = ()
    ending_ids: Sequence[int] = ()
    unused_ids: npt.NDArray[np.int64] = NO_IDS


@dataclass(frozen=True, kw_only=True)
class LogitsProcessors:
    """The settings of all logits processors; each default leaves the logits as they are.

    repetition_penalty: for the tokens of prompt and text so far, positive logits are divided by it and negative ones
    multiplied. presence_penalty, frequency_penalty: subtracted from the logits of the new tokens, once, and once for
    each time the token has occurred. no_repeat_ngram_size: no sequence of n tokens is generated twice; 0: no ban.
    logit_bias: added to the logits, by token id; minus infinity bans. bad_words_ids: sequences of ids that are never
    generated; as in Hugging Face, one that is the end-of-text token alone bans nothing. min_new_tokens: the
    end-of-text tokens are banned before. ignore_eos: the end-of-text token is a token like all others.
    eos_token_id: one or several end-of-text tokens in place of the model's. stop_token_ids: tokens that end the text
    too, also with ignore_eos; like the end-of-text token they are not part of it.
    Raises Problem for a value that is out of range or of another type.
    """

    repetition_penalty: float = default("repetition_penalty")
    presence_penalty: float = default("presence_penalty")
    frequency_penalty: float = default("frequency_penalty")
    no_repeat_ngram_size: int = default("no_repeat_ngram_size")
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    bad_words_ids: Sequence[Sequence[int]] = ()
    min_new_tokens: int = default("min_new_tokens")
    ignore_eos: bool = default("ignore_eos")
    eos_token_id: int | Sequence[int] | None = default("eos_token_id")
    stop_token_ids: Sequence[int] = default("stop_token_ids")

    def __post_init__(self) -> None:
        check_fields(self)
        # copies, so that the caller cannot change them later
        object.__setattr__(self, "logit_bias", _bias(self.logit_bias))
        object.__setattr__(self, "bad_words_ids", _sequences(self.bad_words_ids))
        object.__setattr__(self, "stop_token_ids", _ids("stop_token_ids", self.stop_token_ids))
        if self.eos_token_id is not None:
            given = self.eos_token_id
            ids = [given] if _is_id(given) else given
            object.__setattr__(self, "eos_token_id", _ids("eos_token_id", ids))

    @cached_property
    def is_off(self) -> bool:
        """Whether all logits stay as they are, whatever the history."""
        penalties = (self.repetition_penalty - 1, self.presence_penalty, self.frequency_penalty)
        bans = (self.no_repeat_ngram_size, self.logit_bias, self.bad_words_ids, self.min_new_tokens)
        return not any(penalties) and not any(bans)

    @cached_property
    def largest_id(self) -> int:
        """The largest token id in any setting; -1: none."""
        return max(max(ids, default=-1) for ids in self.ids_by_setting().values())

    def ids_by_setting(self) -> dict[str, list[int]]:
        """Return the token ids in each setting."""
        return {
            "logit_bias": list(self.logit_bias),
            "bad_words_ids": [token for word in self.bad_words_ids for token in word],
            "eos_token_id": list(self.eos_token_id or ()),  # type: ignore[arg-type]  # __post_init__ has made it a tuple
            "stop_token_ids": list(self.stop_token_ids),
        }

    def ending_ids(self, eos_token_ids: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens that end a text; eos_token_ids: the model's."""
        own = self.eos_token_id
        eos = eos_token_ids if own is None else own
        assert isinstance(eos, Sequence)  # __post_init__ has made it one
        return (*(() if self.ignore_eos else eos), *self.stop_token_ids)


def argmax(logits: npt.NDArray[np.float32]) -> int:  # [V] -> id
    """Return the id of the largest logit, the first of equal ones.

    Raises Problem where the largest is NaN or infinite: the model's weights or its arithmetic are broken.
    """
    best = int(logits.argmax())  # numpy: that of a NaN, if there is one
    if not math.isfinite(logits[best]):
        raise Problem("the model's logits hold NaN or infinity: its weights are damaged, or overflow at this precision")
    return best


def process(
    logits: npt.NDArray[np.float32], settings: LogitsProcessors, history: History
) -> npt.NDArray[np.float32]:  # [V] -> [V]
    """Return the logits after all processors, those of unused ids minus infinity: a new array, if anything changes.

    Raises Problem for a token that is not in the vocabulary, and where no token is left or f32 overflows.
    """
    if settings.is_off and not history.unused_ids.size:
        return logits
    require_known(settings, logits.size)
    changed = logits.copy()
    with np.errstate(over="ignore"):  # checked below
        _add_bias(changed, settings)
        _penalize(changed, settings, history)
    changed[_banned(settings, history)] = -np.inf
    changed[history.unused_ids] = -np.inf
    most = changed.max()
    if most == -np.inf:
        settings_that_ban = "logit_bias, no_repeat_ngram_size, bad_words_ids and min_new_tokens"
        raise Problem(f"no token is left to choose from: {settings_that_ban} ban all")
    if most == np.inf:
        raise Problem("the penalties or logit_bias take a logit past the largest number of f32: use smaller ones")
    return changed


def drawn_never(unused_ids: npt.NDArray[np.int64], ending_ids: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the unused ids but for those that end a text, which needs no token for them."""
    return np.setdiff1d(unused_ids, ending_ids) if unused_ids.size else unused_ids


def require_lengths(settings: LogitsProcessors, max_new_tokens: int) -> None:
    """Raise Problem unless max_new_tokens is a whole number from 0 that min_new_tokens does not exceed."""
    SETTINGS["max_new_tokens"].check(max_new_tokens)
    if settings.min_new_tokens > max_new_tokens:
        expected = f"at most max_new_tokens, {shown(max_new_tokens)}"
        raise Problem(f"min_new_tokens: expected {expected}, got {shown(settings.min_new_tokens)}")


def require_known(settings: LogitsProcessors, vocab_size: int) -> None:
    """Raise Problem unless the vocabulary has all token ids of the settings."""
    if settings.largest_id < vocab_size:
        return
    for name, ids in settings.ids_by_setting().items():
        if ids and max(ids) >= vocab_size:
            raise Problem(f"{name}: expected token ids of 0 .. {vocab_size - 1}, got {shown(max(ids))}")


def require_count(name: str, value: Any, least: int = 0) -> None:
    """Raise Problem unless it is a whole number from least."""
    if not (is_whole(value) and value >= least):
        raise Problem(f"{name}: expected a whole number from {least}, got {shown(value)}")


def _bias(given: Any) -> dict[int, float]:
    expected = "logit_bias: expected a number or -inf for each token id"
    if not isinstance(given, Mapping):
        raise Problem(f"{expected}, got {shown(given)}")
    for token, value in given.items():
        fits = is_number(value) and (-LARGEST <= value <= LARGEST or value == -math.inf)
        if not (_is_id(token) and fits):
            raise Problem(f"{expected}, got {shown(token)}: {shown(value)}")
    return dict(given)


def _sequences(given: Any) -> tuple[tuple[int, ...], ...]:
    expected = "bad_words_ids: expected sequences of token ids"
    if not _is_sequence(given):
        raise Problem(f"{expected}, got {shown(given)}")
    for word in given:
        if not (_is_sequence(word) and len(word) and all(map(_is_id, word))):
            raise Problem(f"{expected}, none of them empty, got {shown(word)}")
    return tuple(map(tuple, given))


def _ids(name: str, given: Any) -> tuple[int, ...]:
    if not (_is_sequence(given) and all(map(_is_id, given))):
        raise Problem(f"{name}: expected token ids, got {shown(given)}")
    return tuple(map(int, given))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_id(value: Any) -> bool:
    return is_whole(value) and value >= 0


def _add_bias(logits: npt.NDArray[np.float32], settings: LogitsProcessors) -> None:  # [V], changed
    if settings.logit_bias:
        logits[list(settings.logit_bias)] += np.array(list(settings.logit_bias.values()), np.float32)


def _penalize(logits: npt.NDArray[np.float32], settings: LogitsProcessors, history: History) -> None:  # [V], changed
    if settings.repetition_penalty != 1:
        seen = np.array([*history.prompt, *history.new], np.int64)
        before, penalty = logits[seen], np.float32(settings.repetition_penalty)
        logits[seen] = np.where(before < 0, before * penalty, before / penalty)
    if settings.presence_penalty or settings.frequency_penalty:
        seen, counts = np.unique(np.array(history.new, np.int64), return_counts=True)
        logits[seen] -= counts.astype(np.float32) * np.float32(settings.frequency_penalty)
        logits[seen] -= np.float32(settings.presence_penalty)


def _banned(settings: LogitsProcessors, history: History) -> list[int]:
    """Return the ids of the tokens that must not come next."""
    banned = []
    if settings.no_repeat_ngram_size:
        banned += _repeating(np.array([*history.prompt, *history.new], np.int64), settings.no_repeat_ngram_size)
    if settings.bad_words_ids:
        banned += _completing(settings.bad_words_ids, history)
    if len(history.new) < settings.min_new_tokens:
        banned += history.ending_ids
    return banned


def _repeating(tokens: npt.NDArray[np.int64], size: int) -> list[int]:  # [L] -> ids
    """Return the tokens that followed each earlier occurrence of the last size - 1 tokens."""
    runs = tokens.size - size + 1
    if runs < 1:
        return []
    same = np.ones(runs, bool)
    for place in range(size - 1):
        same &= tokens[place : place + runs] == tokens[runs + place]
    return list(tokens[size - 1 :][same])


def _completing(words: Sequence[Sequence[int]], history: History) -> list[int]:
    """Return the last token of each word whose other tokens are the last ones of the text."""
    longest = max(map(len, words))
    tail = (*history.prompt[-longest:], *history.new[-longest:])
    return [
        word[-1]
        for word in words
        if tail[len(tail) - len(word) + 1 :] == word[:-1] and not (len(word) == 1 and word[0] in history.ending_ids)
    ]
