"""Where a text ends: stop strings, lines, sentences. input_processor applies the rules for prompts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.settings import check_fields, default
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer, IncrementalDetokenizer

SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)""")
"""The end of a sentence, where white space follows; an abbreviation looks the same."""
NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """Where a text stops, and how its prompt is read.

    stop: strings before which the text ends, wherever token boundaries fall in them; of several that one token
    completes, the first in the text. stop_at: "line" ends it before the first line feed, "sentence" after the first
    sentence.
    context_overflow: what happens when prompt and continuation need more positions than the model has: "error" refuses
    a prompt that is too long and ends the text at the last position; "truncate" and "slide" cut the beginning of a
    prompt that leaves no room for max_new_tokens, down to half of the positions; "slide" then also continues with the
    last half of the context whenever the positions are full.
    parse_special: whether <|endoftext|> in a prompt is the token of that name, rather than those characters.
    added_tokens: whether the tokenizer's other added tokens in a prompt, such as <|user|>, are the tokens of that name
    ("parse") or those characters ("text").
    Raises Problem for a value that is none of these.
    """

    stop: Sequence[str] = default("stop")
    stop_at: Literal["line", "sentence"] | None = default("stop_at")
    context_overflow: Literal["error", "truncate", "slide"] = default("context_overflow")
    parse_special: bool = default("parse_special")
    added_tokens: Literal["parse", "text"] = default("added_tokens")

    def __post_init__(self) -> None:
        if isinstance(self.stop, str) or not isinstance(self.stop, Sequence):
            raise Problem(f"stop: expected a list of strings, got {shown(self.stop)}")
        for text in self.stop:
            _require_stop_string(text)
        check_fields(self)
        object.__setattr__(self, "stop", tuple(self.stop))  # a copy, so that the caller cannot change it later


class StoppingDetokenizer:
    """Token ids in, text out as soon as no stop string can cut it; `stopped`: whether a rule has ended the text."""

    def __init__(self, tokenizer: GPT2Tokenizer, rules: TextRules) -> None:
        self.stopped = False
        self._stream = IncrementalDetokenizer(tokenizer)
        self._strings = [*rules.stop, *["\n"] * (rules.stop_at == "line")]
        self._sentence_end = SENTENCE_END if rules.stop_at == "sentence" else NEVER
        self._before = ""  # the end of the text shown so far that may become the end of a sentence
        self._held = ""  # held back: it may become a stop string

    def push(self, token: int) -> str:
        """Return the text that this token completes, possibly none."""
        return self._take(self._stream.push(token))

    def close(self) -> str:
        """Return the text held back, and U+FFFD for a character that was never completed."""
        if self.stopped:
            return ""
        text = self._take(self._stream.close())
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _take(self, text: str) -> str:
        pending = self._held + text
        cuts = [place for place in map(pending.find, self._strings) if place >= 0]
        if ended := self._sentence_end.search(self._before + pending):
            cuts.append(max(0, ended.end() - len(self._before)))
        if cuts:
            self.stopped, self._held = True, ""
            return pending[: min(cuts)]
        shown = len(pending) - max((_overlap(pending, stop) for stop in self._strings), default=0)
        self._held = pending[shown:]
        if self._sentence_end is not NEVER:
            self._before = _sentence_tail(self._before + pending[:shown])
        return pending[:shown]


def _require_stop_string(text: Any) -> None:
    if not isinstance(text, str) or not text:
        raise Problem(f"stop: expected strings of at least one character, got {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Problem(f"stop: expected valid Unicode, got {shown(text)}") from None


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a stop string."""
    most = min(len(text), len(stop) - 1)
    return next((count for count in range(most, 0, -1) if text.endswith(stop[:count])), 0)


def _sentence_tail(text: str) -> str:
    """Return the full stops, and quotes after them, at the end of a text."""
    tail = re.search(r"""[.!?…]+["'”’)\]]*\Z""", text)
    return tail[0] if tail else ""
