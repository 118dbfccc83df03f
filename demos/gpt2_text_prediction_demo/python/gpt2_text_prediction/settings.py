"""The table of all settings of one text: its name, flags, type, range, default and help, each in one place.

The command line's flags, the keys of a JSONL line, the /NAME commands, and the fields of Sampling, LogitsProcessors,
Beams and TextRules with their checks all come from it. A new setting is a row here, a field of the dataclass that uses
it, and if transformers has it, its name in generation_config.py; sampling is computed twice, in `choose` and, for
--explain, in `probabilities`.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from gpt2_text_prediction.problem import Problem, shown

GENERATION, LOGITS, BEAMS, TEXT = "Generation", "Logits processing", "Beam search", "Text"
"""Groups of flags in --help."""
SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""The smallest number that f32 can divide by, and the largest that it can hold."""
MOST_TEXTS = 1 << 20
"""Texts of one call, whose requests are made before the first is begun."""
MOST_BEAMS = 1024
MAY_BE_REPEATED = "may be given several times"


@dataclass(frozen=True)
class Kind:
    """A type of values: how one is typed as text, and what argparse makes of the flag."""

    expected: str  # what a text must be
    parse: Callable[[str], Any]  # raises ValueError
    flag: dict[str, Any]  # arguments of add_argument


@dataclass(frozen=True)
class Setting:
    """One row. accepts, expected: the range, and its words; accepts None: the dataclass's __post_init__ validates."""

    name: str
    group: str
    kind: Kind
    default: Any
    help: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()  # other spellings than --name; -x and a name of Open Model Zoo's come first
    accepts: Callable[[Any], bool] | None = None
    expected: str = ""
    choices: tuple[str, ...] = ()
    shown_default: str | None = None

    def check(self, value: Any) -> None:
        """Raise Problem for a value that is out of range or of another type."""
        if self.accepts is not None and not self.accepts(value):
            raise Problem(f"{self.name}: expected {self.expected}, got {shown(value)}")

    def parse(self, text: str) -> Any:
        """Return the value that a person has typed, whose range is checked later; raise Problem where it is none."""
        try:
            return self.kind.parse(text)
        except ValueError:
            raise Problem(f"{self.name}: expected {self.kind.expected}, got {shown(text)}") from None


def one_or_more(value: Any, kind: type) -> Any:
    """Return a value in a list, where it is one of a kind in place of several."""
    return [value] if isinstance(value, kind) else value


def is_number(value: Any) -> bool:
    """Return whether it is a number, and neither NaN nor a bool."""
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    return is_real and bool(-math.inf <= value <= math.inf)  # not so for NaN


def is_whole(value: Any) -> bool:
    """Return whether it is a whole number, numpy's among them, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _switch(text: str) -> bool:
    words = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _texts(text: str) -> list[str]:
    """Read a JSON list or string, or take the text itself, if it does not begin like one."""
    if not text.startswith(("[", '"')):
        return [text]
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


def _bias(text: str) -> dict[int, float]:
    pairs = [pair.partition("=") for pair in text.split()]
    return {int(token): float(bias) for token, _, bias in pairs}


_NUMBER = Kind("a number", float, {"type": float})
_WHOLE = Kind("a whole number", int, {"type": int})
_SWITCH = Kind("on or off", _switch, {"action": "store_true"})
_CHOICE = Kind("one of its values", str, {})
_TEXTS = Kind('a text, or JSON such as ["one", "two\\n"]', _texts, {"action": "append"})
_BIAS = Kind("ID=BIAS with a token's id and a number or -inf", _bias, {"action": "append"})
_IDS = Kind(
    "token ids",
    lambda text: [int(word) for word in text.replace(",", " ").split()],
    {"action": "append", "type": int},
)
_STOP_EARLY = Kind(
    "on, off or never", lambda text: text if text == "never" else _switch(text), {"nargs": "?", "const": "true"}
)


def _number(  # noqa: PLR0913  # the columns of a row
    name: str,
    group: str,
    default: float,
    range_: str,
    accepts: Callable[[Any], bool],
    help_: str,
    *flags: str,
    metavar: str = "X",
) -> Setting:
    return Setting(
        name,
        group,
        _NUMBER,
        default,
        help_,
        metavar,
        flags,
        lambda value: is_number(value) and accepts(value),
        f"a number {range_}",
    )


def _whole(  # noqa: PLR0913  # the columns of a row
    name: str,
    group: str,
    default: int | None,
    least: int,
    help_: str,
    *flags: str,
    metavar: str = "N",
    most: float = math.inf,
    meaning: str = "",
    shown_default: str | None = None,
) -> Setting:
    """Return the row of a whole number from least to most. meaning: of the value least. None is valid as a default."""
    return Setting(
        name,
        group,
        _WHOLE,
        default,
        help_,
        metavar,
        flags,
        lambda value: (value is None and default is None) or (is_whole(value) and least <= value <= most),
        f"a whole number from {least}{meaning}" + ("" if most == math.inf else f" to {most}"),
        shown_default=shown_default,
    )


def _flag(name: str, group: str, help_: str) -> Setting:
    return Setting(
        name,
        group,
        _SWITCH,
        False,
        help_,
        accepts=lambda value: isinstance(value, bool),
        expected="True or False",
        shown_default="",
    )


def _choice(name: str, default: str | None, choices: tuple[str, ...], expected: str, help_: str) -> Setting:
    return Setting(
        name,
        TEXT,
        _CHOICE,
        default,
        help_,
        accepts=lambda value: value == default or (isinstance(value, str) and value in choices),
        expected=expected,
        choices=choices,
        shown_default=default or "neither",
    )


ROWS = (
    _whole(
        "max_new_tokens",
        GENERATION,
        40,
        0,
        "Maximum number of tokens in generated sample.",
        "-n",
        "--max_sample_token_num",
        "--max_new_tokens",
        "--length",
    ),
    _number(
        "temperature",
        GENERATION,
        1.0,
        "from 0 (greedy)",
        lambda value: 0 <= value < math.inf,
        "Divide the logits by T: below 1 makes likely tokens more likely still, 0 always takes the most likely one.",
        "--temp",
        metavar="T",
    ),
    _whole(
        "top_k",
        GENERATION,
        0,
        0,
        "Number of tokens with the highest probability which will be kept for generation, 0 for all.",
        metavar="K",
        meaning=" (all tokens)",
    ),
    _number(
        "top_p",
        GENERATION,
        0.9,
        "from 0 to 1 (all tokens)",
        lambda value: 0 <= value <= 1,
        "Keep the most likely tokens whose probabilities together reach P; 1 keeps all, 0 only the most likely one.",
        metavar="P",
    ),
    _number(
        "min_p",
        GENERATION,
        0.0,
        "from 0 (all tokens) to 1",
        lambda value: 0 <= value <= 1,
        "Keep the tokens whose probability is at least P times that of the most likely token; 0 keeps all.",
        metavar="P",
    ),
    _number(
        "typical_p",
        GENERATION,
        1.0,
        "above 0, to 1 (all tokens)",
        lambda value: 0 < value <= 1,
        "Locally typical sampling: keep the tokens whose log-probability is closest to the expected one, until their "
        "probabilities together reach P; 1 keeps all.",
        metavar="P",
    ),
    _whole(
        "seed",
        GENERATION,
        None,
        0,
        "Seed of the random draws: the same seed gives the same text, in the same arithmetic.",
        "-s",
        shown_default="a new one, printed",
        most=2**64 - 1,
    ),
    _number(
        "repetition_penalty",
        LOGITS,
        1.0,
        "above 0 (1 for none)",
        lambda value: SMALLEST <= value <= LARGEST,
        "Above 1 makes tokens of the prompt and the text so far less likely.",
        "--repeat_penalty",
    ),
    _number(
        "presence_penalty",
        LOGITS,
        0.0,
        "from -2 to 2 (0 for none)",
        lambda value: -2 <= value <= 2,
        "From -2 to 2; subtracted from the logits of tokens that are in the new text.",
    ),
    _number(
        "frequency_penalty",
        LOGITS,
        0.0,
        "from -2 to 2 (0 for none)",
        lambda value: -2 <= value <= 2,
        "From -2 to 2; subtracted from the logits of tokens once for each time they are in the new text.",
    ),
    _whole(
        "no_repeat_ngram_size",
        LOGITS,
        0,
        0,
        "Never generate a sequence of N tokens twice; 0 allows it.",
        meaning=" (no ban)",
    ),
    Setting(
        "logit_bias",
        LOGITS,
        _BIAS,
        {},
        f"Add BIAS to the logit of the token ID, -inf to ban it; {MAY_BE_REPEATED}.",
        "ID=BIAS",
        shown_default="none",
    ),
    Setting(
        "bad_words",
        LOGITS,
        _TEXTS,
        [],
        f"Never generate this text, with or without a leading space; {MAY_BE_REPEATED}.",
        "TEXT",
        shown_default="none",
    ),
    _whole("min_new_tokens", LOGITS, 0, 0, "Generate at least N tokens: end-of-text is banned before."),
    _flag("ignore_eos", LOGITS, "Continue after the end-of-text token."),
    Setting(
        "eos_token_id",
        LOGITS,
        _IDS,
        None,
        f"End-of-text token, in place of the model's; {MAY_BE_REPEATED}.",
        "ID",
        shown_default="the model's",
    ),
    Setting(
        "stop_token_ids",
        LOGITS,
        _IDS,
        (),
        f"Token that ends the text too, also with --ignore_eos; {MAY_BE_REPEATED}.",
        "ID",
        shown_default="none",
    ),
    _whole("num_return_sequences", GENERATION, 1, 1, "Number of texts for each prompt.", "--nsamples", most=MOST_TEXTS),
    _whole(
        "num_beams",
        BEAMS,
        1,
        1,
        "Number of beams: continuations kept at each step, to find the most likely whole text; 1 samples instead.",
        most=MOST_BEAMS,
    ),
    _number(
        "length_penalty",
        BEAMS,
        1.0,
        "from -100 to 100",
        lambda value: -100 <= value <= 100,
        "Divide a beam's log-probability by its length to the power of X: above 0 favours long texts.",
    ),
    Setting(
        "early_stopping",
        BEAMS,
        _STOP_EARLY,
        False,
        "Stop at num_beams finished beams ('true', or no value), when a better one is unlikely ('false'), or when "
        "there can be none ('never').",
        accepts=lambda value: isinstance(value, bool) or value == "never",
        expected='True, False or "never"',
        choices=("true", "false", "never"),
        shown_default="false",
    ),
    Setting(
        "stop",
        TEXT,
        _TEXTS,
        (),
        f"Stop before this text; {MAY_BE_REPEATED}.",
        "TEXT",
        shown_default="none",
    ),
    _flag("include_stop_str_in_output", TEXT, "End the text after the --stop text that ends it, not before."),
    _choice(
        "stop_at",
        None,
        ("line", "sentence"),
        '"line", "sentence" or nothing',
        "Stop at the end of the first line or sentence.",
    ),
    _choice(
        "context_overflow",
        "error",
        ("error", "truncate", "slide"),
        '"error", "truncate" or "slide"',
        "What to do past the model's positions: 'error' refuses a prompt that is too long and ends a text there, "
        "'truncate' and 'slide' cut the beginning of a prompt that leaves no room for the new tokens, and 'slide' then "
        "continues with the last half of the text, which is computed again each time.",
    ),
    _choice(
        "added_tokens",
        "parse",
        ("parse", "text"),
        '"parse" or "text"',
        "Added tokens in a prompt, such as <|user|>: 'parse' takes them as the tokens of that name, 'text' as those "
        "characters. <|endoftext|> is text in either case, unless --parse_special.",
    ),
    _flag("parse_special", TEXT, "Take <|endoftext|> in a prompt as the token of that name, not as those characters."),
)
SETTINGS = {row.name: row for row in ROWS}


def default(name: str) -> Any:
    """Return a setting's default, for the field of a dataclass."""
    return SETTINGS[name].default


def check_fields(instance: Any) -> None:
    """Check all fields of a dataclass that are settings. Raises Problem for the first that is out of range."""
    for field in fields(instance):
        if field.name in SETTINGS:
            SETTINGS[field.name].check(getattr(instance, field.name))


OF_TRANSFORMERS = {
    "do_sample": "temperature=0 is greedy, everything else samples",
    "max_length": "max_new_tokens counts the new tokens alone",
    "bad_words_ids": "bad_words takes texts, Sampling(bad_words_ids=...) ids",
    "stop_strings": "stop takes them",
}
"""Names that a user of transformers may give, and what to give here."""


def require_known_names(names: Iterable[str]) -> None:
    """Raise Problem for a name that is no setting."""
    for name in sorted(names):
        if name in OF_TRANSFORMERS:
            raise Problem(f"{name}: there is no such setting: {OF_TRANSFORMERS[name]}")
        if name not in SETTINGS:
            from difflib import get_close_matches  # noqa: PLC0415 - slow to import

            near = get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(SETTINGS)}"
            raise Problem(f"{name:.80}: there is no such setting; {hint}")
