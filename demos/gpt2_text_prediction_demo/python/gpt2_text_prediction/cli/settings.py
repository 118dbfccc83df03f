"""All that may be set for one text, by name: from flags, lines of JSONL, commands. What it does is not known here."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.generation.logits_processors import require_count, require_lengths
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem
from gpt2_text_prediction.text.stopping import TextRules

DRAWING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
PROCESSING = (
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "no_repeat_ngram_size",
    "min_new_tokens",
    "ignore_eos",
)
OF_BEAMS = ("length_penalty", "early_stopping")
RULES = ("stop", "stop_at", "context_overflow", "parse_special")
NAMES = (
    "max_new_tokens",
    *DRAWING,
    "seed",
    *PROCESSING,
    "logit_bias",
    "bad_words",
    "num_return_sequences",
    "num_beams",
    *OF_BEAMS,
    *RULES,
)
WHOLE = {"max_new_tokens", "top_k", "seed", "no_repeat_ngram_size", "min_new_tokens", "num_beams"}
WHOLE |= {"num_return_sequences"}
SWITCHES = {"ignore_eos", "parse_special"}
CHOICES = {"stop_at", "context_overflow"}
LISTS = {"stop", "bad_words"}


@dataclass(frozen=True)
class Settings:
    """What one prompt is answered with: drawn by a Sampling, or searched by Beams."""

    how: Sampling | Beams
    rules: TextRules
    max_new_tokens: int
    samples: int


def make_settings(given: Mapping[str, Any], encode: Callable[[str], list[int]] | None = None) -> Settings:
    """Return the settings of the values that are given; the others have their defaults.

    encode: a tokenizer's, for bad_words, which are left out without it.
    Raises Problem for a name that is unknown, a value out of range, and for those that contradict each other.
    """
    if unknown := sorted(given.keys() - set(NAMES)):
        raise Problem(f"{unknown[0]}: there is no such setting; known: {', '.join(NAMES)}")
    most, samples = given.get("max_new_tokens", 40), given.get("num_return_sequences", 1)
    require_count("max_new_tokens", most, least=1)
    require_count("num_return_sequences", samples, least=1)
    require_count("num_beams", given.get("num_beams", 1), least=1)
    how = _how(given, _processing(given, encode))
    rules = TextRules(**_only(given, RULES))
    require_lengths(how, most)
    if isinstance(how, Beams) and rules.context_overflow == "slide":
        raise Problem("num_beams, context_overflow: beams cannot slide: leave one out")
    if isinstance(how, Sampling) and samples > 1 and (how.temperature == 0 or how.top_p == 0 or how.top_k == 1):
        raise Problem("num_return_sequences: greedy text is always the same: give a temperature or num_beams")
    return Settings(how, rules, most, samples)


def parse_setting(name: str, text: str) -> Any:
    """Return the value that a person has typed for a setting; whether it is in range is seen later.

    Raises Problem for a name that is unknown or a text that is no value of its kind.
    """
    if name not in NAMES:
        raise Problem(f"{name}: there is no such setting; known: {', '.join(NAMES)}")
    if name in WHOLE:
        return _parse(name, text, int, "a whole number")
    if name in SWITCHES:
        return _switch(name, text)
    if name in LISTS:
        return _texts(name, text)
    if name == "logit_bias":
        return dict(map(parse_bias, text.split()))
    if name == "early_stopping":
        return "never" if text == "never" else _switch(name, text)
    return text if name in CHOICES else _parse(name, text, float, "a number")


def parse_bias(text: str) -> tuple[int, float]:
    """Return the token id and the bias of "ID=BIAS", else raise Problem."""
    token, _, bias = text.partition("=")
    try:
        return int(token), float(bias)
    except ValueError:
        raise Problem(f"logit_bias: expected ID=BIAS with a token's id and a number or -inf, got {text!r}") from None


def _how(given: Mapping[str, Any], processing: Mapping[str, Any]) -> Sampling | Beams:
    if given.get("num_beams", 1) == 1:
        if alone := [name for name in OF_BEAMS if name in given]:
            raise Problem(f"{alone[0]}: is for beams: give num_beams above 1")
        return Sampling(**processing, **_only(given, (*DRAWING, "seed")))
    if drawn := [name for name in DRAWING if name in given]:
        raise Problem(f"num_beams, {drawn[0]}: beams draw nothing: leave one out")
    return Beams(**processing, **_only(given, ("num_beams", "num_return_sequences", *OF_BEAMS)))


def _processing(given: Mapping[str, Any], encode: Callable[[str], list[int]] | None) -> dict[str, Any]:
    found = _only(given, PROCESSING)
    if "logit_bias" in given:
        found["logit_bias"] = _bias_of_ids(given["logit_bias"])
    words = given.get("bad_words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise Problem(f"bad_words: expected a list of words, none of them blank, got {words!r}")
    if words and encode is not None:
        forms = [form for word in words for form in (word.strip(), " " + word.strip())]
        found["bad_words_ids"] = [encode(form) for form in dict.fromkeys(forms)]
    return found


def _bias_of_ids(given: Any) -> Any:
    """Return a bias by ids, which JSON has as texts."""
    if not isinstance(given, dict):
        return given
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in given.items()}


def _only(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _parse(name: str, text: str, kind: Callable[[str], Any], expected: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise Problem(f"{name}: expected {expected}, got {text!r}") from None


def _switch(name: str, text: str) -> bool:
    known = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
    if text.lower() not in known:
        raise Problem(f"{name}: expected on or off, got {text!r}")
    return known[text.lower()]


def _texts(name: str, text: str) -> list[str]:
    """Return a list: the text itself, or what it is as JSON, where it begins as such a list or string."""
    if not text.startswith(("[", '"')):
        return [text]
    try:
        found = json.loads(text)
    except ValueError:
        raise Problem(f'{name}: expected a text, or JSON such as ["one", "two\\n"], got {text!r}') from None
    return found if isinstance(found, list) else [found]
