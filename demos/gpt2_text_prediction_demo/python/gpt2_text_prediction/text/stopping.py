"""Where a text ends: stop strings, lines, sentences. input_processor applies the rules for prompts."""

import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.settings import check_fields, default, one_or_more
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer, IncrementalDetokenizer

SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)""")
"""The end of a sentence, where white space follows; an abbreviation looks the same."""
NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """Where a text stops, and how its prompt is read.

    stop: strings, or one, before which the text ends, wherever token boundaries fall in them; of several that one token
    completes, the first in the text. include_stop_str_in_output: the text ends after it, as in vLLM.
    stop_at: "line" ends the text before the first line feed, "sentence" after the first sentence.
    context_overflow: what happens when prompt and continuation need more positions than the model has: "error" refuses
    a prompt that is too long and ends the text at the last position; "truncate" and "slide" cut the beginning of a
    prompt that leaves no room for max_new_tokens, down to half of the positions; "slide" then also continues with the
    last half of the context whenever the positions are full.
    parse_special: whether <|endoftext|> in a prompt is the token of that name, rather than those characters.
    added_tokens: whether the tokenizer's other added tokens in a prompt, such as <|user|>, are the tokens of that name
    ("parse") or those characters ("text").
    Raises Problem for a value that is none of these.

    >>> from gpt2_text_prediction import TextGenerator, TextRules
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     (result,) = gpt2.generate("The poem", rules=TextRules(stop=["the", "."]), max_new_tokens=20)
    >>> "the" in result.text
    False
    """

    stop: str | Sequence[str] | None = default("stop")
    include_stop_str_in_output: bool = default("include_stop_str_in_output")
    stop_at: Literal["line", "sentence"] | None = default("stop_at")
    context_overflow: Literal["error", "truncate", "slide"] = default("context_overflow")
    parse_special: bool = default("parse_special")
    added_tokens: Literal["parse", "text"] = default("added_tokens")

    def __post_init__(self) -> None:
        stop = () if self.stop is None else one_or_more(self.stop, str)
        if not isinstance(stop, Sequence) or isinstance(stop, bytes | bytearray):
            raise Problem(f"stop: expected a string or a list of strings, got {shown(self.stop)}")
        for text in stop:
            _require_stop_string(text)
        check_fields(self)
        object.__setattr__(self, "stop", tuple(stop))  # a copy, so that the caller cannot change it later


class _Stop(NamedTuple):
    """What ends a text, from character `start` on; shown: how many characters stay. reason: see stop_reason."""

    start: int
    shown: int
    reason: str


class StoppingDetokenizer:
    """Token ids in, text out as soon as no stop string can cut it.

    stop_reason: the stop string that has ended the text, or "line" or "sentence", None where none has. num_chars: of
    the whole text of the tokens so far, shown, held back and cut. min_new_tokens: nothing that is complete with these
    tokens ends the text, as in vLLM. has_rules: whether anything in a text may end it.
    """

    def __init__(self, tokenizer: GPT2Tokenizer, rules: TextRules, min_new_tokens: int = 0) -> None:
        self.stop_reason: str | None = None
        self.num_chars = 0
        self._stream = IncrementalDetokenizer(tokenizer)
        self._strings = {text: text for text in rules.stop or ()} | ({"\n": "line"} if rules.stop_at == "line" else {})
        # One search tells that none of them is there, as at nearly every token of every beam.
        self._any_string = re.compile("|".join(map(re.escape, self._strings))) if self._strings else NEVER
        self._longest = max(map(len, self._strings), default=0)
        self._beginnings = {text[0] for text in self._strings}
        self._include = rules.include_stop_str_in_output
        self._sentence_end = SENTENCE_END if rules.stop_at == "sentence" else NEVER
        self.has_rules = bool(self._strings) or rules.stop_at is not None
        self._before = ""  # the end of the text shown so far that may become the end of a sentence
        self._held = ""  # held back: it may become a stop string
        self._exempt = 0  # characters of what is held back in which nothing may end
        self._exempt_tokens = min_new_tokens

    @property
    def stopped(self) -> bool:
        """Whether a rule has ended the text."""
        return self.stop_reason is not None

    def push(self, token: int) -> str:
        """Return the text that this token completes, possibly none."""
        is_exempt = self._exempt_tokens > 0
        self._exempt_tokens -= is_exempt
        return self._take(self._stream.push(token), is_exempt)

    def ends_with(self, token: int) -> bool:
        """Take a token; return whether the text ends with it."""
        self.push(token)
        return self.stopped

    def fork(self) -> "StoppingDetokenizer":
        """Return a second one that goes on from here."""
        forked = copy(self)
        forked._stream = self._stream.fork()
        return forked

    def close(self) -> str:
        """Return the text held back, and U+FFFD for a character that was never completed."""
        if self.stopped:
            return ""
        text = self._take(self._stream.close(), is_exempt=False)
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _take(self, text: str, is_exempt: bool) -> str:
        self.num_chars += len(text)
        if not self.has_rules:
            return text
        pending = self._held + text
        if is_exempt:
            self._exempt = len(pending)
        if (stop := min(self._stops(pending), key=lambda stop: stop.start, default=None)) is not None:
            self.stop_reason, self._held = stop.reason, ""
            return pending[: stop.shown]
        shown = self._certain(pending)
        self._held, self._exempt = pending[shown:], max(0, self._exempt - shown)
        if self._sentence_end is not NEVER:
            self._before = _sentence_tail(self._before + pending[:shown])
        return pending[:shown]

    def _stops(self, pending: str) -> Iterator[_Stop]:
        """Return the first place where each string or a sentence ends the text."""
        for string, reason in self._strings.items() if self._any_string.search(pending) else ():
            start = pending.find(string, max(0, self._exempt - len(string) + 1))
            if start >= 0:
                is_kept = self._include and reason == string
                yield _Stop(start, start + len(string) * is_kept, reason)
        offset = len(self._before)
        for found in self._sentence_end.finditer(self._before + pending):
            if found.end() - offset >= self._exempt:  # white space after it is what completes it
                end = max(0, found.end() - offset)
                yield _Stop(end, end, "sentence")
                return

    def _certain(self, pending: str) -> int:
        """Return how many characters come before what may become a stop string."""
        for start in range(max(0, len(pending) - self._longest + 1), len(pending)):
            if pending[start] not in self._beginnings:
                continue
            tail = pending[start:]
            if any(len(tail) < len(string) and string.startswith(tail) for string in self._strings):
                return start
        return len(pending)


def _require_stop_string(text: Any) -> None:
    if not isinstance(text, str) or not text:
        raise Problem(f"stop: expected strings of at least one character, got {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Problem(f"stop: expected valid Unicode, got {shown(text)}") from None


def _sentence_tail(text: str) -> str:
    """Return the full stops, and quotes after them, at the end of a text."""
    tail = re.search(r"""[.!?…]+["'”’)\]]*\Z""", text)
    return tail[0] if tail else ""
