"""Where a text ends, and what becomes of a prompt that is too long or names a token. It knows no model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer, TextStream

SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)""")
"""What ends a sentence, where white space follows: abbreviations do so too."""
NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """What is done with a text besides drawing its tokens.

    stop: strings before which the text ends, wherever its tokens cut them; of two that come with one token the
    first. stop_at: "line" ends it before the first line feed, "sentence" behind the first sentence.
    context_overflow: what happens where prompt and continuation need more positions than there are: "error" refuses
    a prompt that is too long and ends the text where they do; "truncate" cuts the beginning of the prompt, "slide"
    goes on with the last half of what stands there whenever they are full.
    parse_special: whether <|endoftext|> in a prompt is the token that ends a text, and not those characters.
    Raises Problem for a value that is none of these.
    """

    stop: Sequence[str] = ()
    stop_at: Literal["line", "sentence"] | None = None
    context_overflow: Literal["error", "truncate", "slide"] = "error"
    parse_special: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.stop, str) or not isinstance(self.stop, Sequence):
            raise Problem(f"stop: expected a list of strings, got {self.stop!r}")
        for text in self.stop:
            _require_stop_string(text)
        if self.stop_at not in (None, "line", "sentence"):
            raise Problem(f'stop_at: expected "line", "sentence" or nothing, got {self.stop_at!r}')
        if self.context_overflow not in ("error", "truncate", "slide"):
            raise Problem(f'context_overflow: expected "error", "truncate" or "slide", got {self.context_overflow!r}')
        if not isinstance(self.parse_special, bool):
            raise Problem(f"parse_special: expected True or False, got {self.parse_special!r}")
        object.__setattr__(self, "stop", tuple(self.stop))  # a copy, which nobody else can change


class StoppableText:
    """Token ids in, text out as soon as it is certain to be shown; `stopped` tells whether a rule has ended it."""

    def __init__(self, tokenizer: GPT2Tokenizer, rules: TextRules) -> None:
        self.stopped = False
        self._stream = TextStream(tokenizer)
        self._strings = [*rules.stop, *["\n"] * (rules.stop_at == "line")]
        self._end = SENTENCE_END if rules.stop_at == "sentence" else NEVER
        self._before = ""  # the last of what was shown, as far as it may end a sentence
        self._held = ""  # not shown yet: it may become a stop string

    def push(self, token: int) -> str:
        """Return the text that this token completes, possibly none."""
        return self._take(self._stream.push(token))

    def close(self) -> str:
        """Return what was held back, and what a character that was never completed leaves."""
        if self.stopped:
            return ""
        text = self._take(self._stream.close())
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _take(self, text: str) -> str:
        pending = self._held + text
        cuts = [place for place in map(pending.find, self._strings) if place >= 0]
        if ended := self._end.search(self._before + pending):
            cuts.append(max(0, ended.end() - len(self._before)))
        if cuts:
            self.stopped, self._held = True, ""
            return pending[: min(cuts)]
        shown = len(pending) - max((_overlap(pending, stop) for stop in self._strings), default=0)
        self._held = pending[shown:]
        if self._end is not NEVER:
            self._before = _sentence_tail(self._before + pending[:shown])
        return pending[:shown]


def _require_stop_string(text: Any) -> None:
    if not isinstance(text, str) or not text:
        raise Problem(f"stop: expected strings of at least one character, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Problem(f"stop: expected valid Unicode, got {text!r}") from None


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a stop string."""
    most = min(len(text), len(stop) - 1)
    return next((count for count in range(most, 0, -1) if text.endswith(stop[:count])), 0)


def _sentence_tail(text: str) -> str:
    """Return the full stops, and quotes behind them, with which a text ends."""
    tail = re.search(r"""[.!?…]+["'”’)\]]*\Z""", text)
    return tail[0] if tail else ""
