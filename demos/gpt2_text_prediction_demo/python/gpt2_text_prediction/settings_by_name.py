"""From settings given by name, as keywords, flags, in JSONL or typed, to Sampling, Beams and TextRules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.generation.logits_processors import LogitsProcessors, require_lengths
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.settings import SETTINGS, is_whole, one_or_more, require_known_names
from gpt2_text_prediction.text.stopping import TextRules


def _own_names(kind: type) -> list[str]:
    """Return the settings that are fields of a dataclass, without those of LogitsProcessors, which both have."""
    shared = {field.name for field in fields(LogitsProcessors)}
    return [field.name for field in fields(kind) if field.name in SETTINGS and field.name not in shared]


COUNTS = ("max_new_tokens", "num_return_sequences", "num_beams")
OF_TEXT = _own_names(TextRules)
HOW = [name for name in SETTINGS if name not in (*OF_TEXT, "max_new_tokens", "num_return_sequences")]
"""Settings of a Sampling or of Beams."""
SAMPLING_ONLY = [name for name in _own_names(Sampling) if name != "seed"]
BEAMS_ONLY = [name for name in _own_names(Beams) if name not in ("num_beams", "num_return_sequences")]


@dataclass(frozen=True)
class Settings:
    """How one prompt is continued: drawn by a Sampling, or searched by Beams."""

    how: Sampling | Beams
    rules: TextRules
    max_new_tokens: int
    num_return_sequences: int

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of TextGenerator.stream and generate, but for the number of samples."""
        return {"sampling": self.how, "rules": self.rules, "max_new_tokens": self.max_new_tokens}


class SettingsByName(TypedDict, total=False):
    """The settings as keywords, whose defaults and ranges are in settings.py; see Sampling, Beams and TextRules."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    seed: int | None
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram_size: int
    logit_bias: Mapping[int, float]
    bad_words: str | Sequence[str]
    min_new_tokens: int
    ignore_eos: bool
    eos_token_id: int | Sequence[int] | None
    stop_token_ids: Sequence[int]
    num_return_sequences: int
    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    stop: str | Sequence[str]
    include_stop_str_in_output: bool
    stop_at: Literal["line", "sentence"] | None
    context_overflow: Literal["error", "truncate", "slide"]
    added_tokens: Literal["parse", "text"]
    parse_special: bool


def make_settings(
    given: Mapping[str, Any],
    encode: Callable[[str], list[int]] | None = None,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """Return the settings of the values that are given; the others have their defaults.

    encode: a tokenizer's, for bad_words, which are left out without it. defaults: the model's own.
    Raises Problem for a name that is unknown, a value out of range, and for those that contradict each other.
    """
    require_known_names(given.keys() - SETTINGS.keys())
    given = with_defaults(given, defaults)
    max_new_tokens, samples, _ = (_checked(given, name) for name in COUNTS)
    how = _how(given, _logits_processors(given, encode))
    rules = TextRules(**_only(given, OF_TEXT))
    require_lengths(how, max_new_tokens)
    if isinstance(how, Beams) and rules.context_overflow == "slide":
        raise Problem("num_beams, context_overflow: beams cannot slide: leave one out")
    _require_different(how, max_new_tokens, samples)
    return Settings(how, rules, max_new_tokens, samples)


def settings_beside(
    how: Sampling | Beams | None,
    rules: TextRules | None,
    given: Mapping[str, Any],
    encode: Callable[[str], list[int]],
    defaults: Mapping[str, Any],
) -> Settings:
    """Return the settings of objects, and of those given by name beside them. defaults: used where how is None.

    Raises Problem for a setting that is given in both ways, and as make_settings.
    """
    require_known_names(given.keys() - SETTINGS.keys())
    for part, names in ((how, HOW), (rules, OF_TEXT)):
        if part is not None and (twice := [name for name in names if name in given]):
            raise Problem(f"{twice[0]}: cannot be given beside a {type(part).__name__}: make it a part of that")
    if how is None:
        found = make_settings(given, encode, defaults)
        return found if rules is None else replace(found, rules=rules)
    if isinstance(how, Beams) and "num_return_sequences" in given:
        raise Problem("num_return_sequences: cannot be given beside a Beams: make it a part of that")
    new_tokens, samples, _ = (_checked(given, name) for name in COUNTS)
    if isinstance(how, Beams):
        samples = how.num_return_sequences
    _require_different(how, new_tokens, samples)
    return Settings(how, rules or TextRules(**_only(given, OF_TEXT)), new_tokens, samples)


def _require_different(how: Sampling | Beams, max_new_tokens: int, samples: int) -> None:
    """Raise Problem for several samples that would all be the same."""
    if max_new_tokens == 0 and samples > 1:
        raise Problem(f"num_return_sequences: expected 1 where max_new_tokens is 0, got {samples}")
    if isinstance(how, Sampling) and samples > 1 and (how.temperature == 0 or how.top_p == 0 or how.top_k == 1):
        raise Problem("num_return_sequences: greedy text is always the same: give a temperature or num_beams")


def with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are given, with the model's defaults that they do not contradict."""
    left_out: set[str] = set()
    if given.get("num_beams", 1) != 1:
        left_out.update(SAMPLING_ONLY)
    elif given.keys() & {"num_beams", *SAMPLING_ONLY}:
        left_out.update(("num_beams", *BEAMS_ONLY))
    most, least = given.get("max_new_tokens"), defaults.get("min_new_tokens", 0)
    if is_whole(most) and most < least:
        left_out.add("min_new_tokens")
    return {name: value for name, value in defaults.items() if name not in left_out} | dict(given)


def parse_setting(name: str, text: str) -> Any:
    """Return the value that a person has typed for a setting; its range is checked later, by make_settings.

    Raises Problem for a name that is unknown or a text that is no value of its type.
    """
    require_known_names([name])
    return SETTINGS[name].parse(text)


def _checked(given: Mapping[str, Any], name: str) -> Any:
    value = given.get(name, SETTINGS[name].default)
    SETTINGS[name].check(value)
    return value


def _how(given: Mapping[str, Any], processors: Mapping[str, Any]) -> Sampling | Beams:
    if given.get("num_beams", 1) == 1:
        if beams_only := [name for name in BEAMS_ONLY if name in given]:
            raise Problem(f"{beams_only[0]}: is for beams: give num_beams above 1")
        return Sampling(**processors, **_only(given, _own_names(Sampling)))
    if sampling_only := [name for name in SAMPLING_ONLY if name in given]:
        raise Problem(f"num_beams, {sampling_only[0]}: beam search does not sample: leave one out")
    return Beams(**processors, **_only(given, _own_names(Beams)))


def _logits_processors(given: Mapping[str, Any], encode: Callable[[str], list[int]] | None) -> dict[str, Any]:
    found = _only(given, [field.name for field in fields(LogitsProcessors)])
    if "logit_bias" in given:
        found["logit_bias"] = _bias_of_ids(given["logit_bias"])
    words = one_or_more(given.get("bad_words", []), str)
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word.strip() for word in words):
        raise Problem(f"bad_words: expected a list of words, none of them blank, got {shown(words)}")
    if words and encode is not None:
        forms = [form for word in words for form in (word.strip(), " " + word.strip())]
        found["bad_words_ids"] = [encode(form) for form in dict.fromkeys(forms)]
    return found


def _bias_of_ids(given: Any) -> Any:
    """Return a bias by token ids, which JSON has as strings."""
    if not isinstance(given, dict):
        return given
    found = {int(key) if _is_id(key) else key: value for key, value in given.items()}
    if len(found) < len(given):
        raise Problem(f"logit_bias: expected each token id once, got {shown(list(given))}")
    return found


def _is_id(key: Any) -> bool:
    return isinstance(key, str) and key.isdecimal() and len(key) < 20  # int() refuses thousands of digits


def _only(given: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}
