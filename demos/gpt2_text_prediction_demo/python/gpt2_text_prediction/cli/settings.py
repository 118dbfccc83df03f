"""From settings given by name, as flags, in JSONL or typed, to Sampling, Beams and TextRules."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gpt2_text_prediction.generation.beam_search import Beams
from gpt2_text_prediction.generation.logits_processors import LogitsProcessors, require_lengths
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.results import Result
from gpt2_text_prediction.settings import SETTINGS, is_whole, require_known_names
from gpt2_text_prediction.text.stopping import TextRules

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import TextGenerator
    from gpt2_text_prediction.stream import Stream


def _own_names(kind: type) -> list[str]:
    """Return the settings that are fields of a dataclass, without those of LogitsProcessors, which both have."""
    shared = {field.name for field in fields(LogitsProcessors)}
    return [field.name for field in fields(kind) if field.name in SETTINGS and field.name not in shared]


SAMPLING_ONLY = [name for name in _own_names(Sampling) if name != "seed"]
BEAMS_ONLY = [name for name in _own_names(Beams) if name not in ("num_beams", "num_return_sequences")]


@dataclass(frozen=True)
class Settings:
    """How one prompt is continued: drawn by a Sampling, or searched by Beams."""

    how: Sampling | Beams
    rules: TextRules
    max_new_tokens: int
    samples: int

    def stream(
        self,
        generator: "TextGenerator",
        prompt: str,
        index: tuple[int, int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> "Stream":
        """Return a sample of a prompt; see TextGenerator.stream. Not for beams."""
        assert isinstance(self.how, Sampling)
        return generator.stream(
            prompt, self.how, max_new_tokens=self.max_new_tokens, rules=self.rules, index=index, clock=clock
        )

    def beam_search(self, generator: "TextGenerator", prompt: str) -> list[Result]:
        """Return the continuations that beam search finds; see TextGenerator.beam_search."""
        assert isinstance(self.how, Beams)
        return generator.beam_search(prompt, self.how, max_new_tokens=self.max_new_tokens, rules=self.rules)


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
    max_new_tokens, samples, _ = (
        _checked(given, name) for name in ("max_new_tokens", "num_return_sequences", "num_beams")
    )
    how = _how(given, _logits_processors(given, encode))
    rules = TextRules(**_only(given, _own_names(TextRules)))
    require_lengths(how, max_new_tokens)
    if isinstance(how, Beams) and rules.context_overflow == "slide":
        raise Problem("num_beams, context_overflow: beams cannot slide: leave one out")
    if isinstance(how, Sampling) and samples > 1 and (how.temperature == 0 or how.top_p == 0 or how.top_k == 1):
        raise Problem("num_return_sequences: greedy text is always the same: give a temperature or num_beams")
    return Settings(how, rules, max_new_tokens, samples)


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
    words = given.get("bad_words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
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
