"""Reads prompts from flags, a file of lines or of JSON objects, or a pipe."""

import codecs
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from gpt2_text_prediction.argument_types import require_arguments
from gpt2_text_prediction.problem import Problem, readable, shown

CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
ESCAPE = re.compile(
    rb"\\(?:([0-3]?[0-7]{1,2})|(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|(.[\x80-\xbf]*|$))", re.DOTALL
)
"""An escape of C's, or what follows a backslash that begins none."""
ESCAPED = {bytes([a]): bytes([b]) for a, b in zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True)}
JSON_LINES = (".jsonl", ".ndjson")
CARRIED = ("id", "custom_id", "metadata")
"""Keys of a JSON object that say nothing of its text, but to whom it belongs."""
OF_OPENAI = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "n": "num_return_sequences"}
"""Settings by OpenAI's names, where these are others."""
LOGPROBS = "logprobs"
SPACE_AT_END = "hint: the prompt ends with a space; GPT-2 goes on better without, as its words begin with theirs"


class RawPrompt(NamedTuple):
    """A prompt as it was read; name: for error messages; number: among all, from 1."""

    number: int
    name: str
    raw: bytes
    is_json: bool = False


class Prompt(NamedTuple):
    """A prompt that can be answered: its text, and what came with it in a JSON object.

    own: its settings, by name. logprobs: as in TextGenerator.generate. carried: what its record repeats, as it is.
    """

    text: str
    own: dict[str, Any]
    logprobs: int | None = None
    carried: Mapping[str, Any] = MappingProxyType({})


def from_flags(texts: Sequence[str], thing: str = "prompt") -> Iterator[RawPrompt]:
    """Return the prompts of -i."""
    return (RawPrompt(n, f"{thing} {n}", typed_bytes(text)) for n, text in enumerate(texts, 1))


def typed_bytes(text: str) -> bytes:
    """Return an argument of the command line as UTF-8, or its raw bytes where the locale could not decode it."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)


def unescaped(text: str) -> str:
    """Return a text with what C's escapes in it mean, in UTF-8; raise Problem for what is none of them, or no UTF-8."""

    def meaning(found: re.Match[bytes]) -> bytes:
        octal, byte, *characters, other = found.groups()
        if other in ESCAPED:
            return ESCAPED[other]
        if octal or byte:
            return bytes([int(octal, 8) if octal else int(byte, 16)])
        digits = b"".join(filter(None, characters))
        try:
            return chr(int(digits, 16)).encode()
        except ValueError:  # no digits, no character, or half of one
            escape = found[0].decode(errors="replace")
            advice = "write \\\\ for a backslash, or give --no_escape"
            raise Problem(f"{escape} is no escape of C's: {advice}") from None

    found = ESCAPE.sub(meaning, text.encode(errors="surrogateescape"))
    try:
        return found.decode()
    except UnicodeDecodeError as problem:
        raise Problem(f"expected valid Unicode, got the byte 0x{found[problem.start]:02x}") from None


def from_file(path: Path) -> list[RawPrompt]:
    """Return a file's prompts, one per line; in a .jsonl file each line is a JSON object.

    Raises Problem for a file without any, and as lines_of.
    """
    found = list(lines_of(path, "--prompt_file", "prompt"))
    if not found:
        raise Problem(f"--prompt_file: {path}: has no prompts; expected one a line")
    return found


def lines_of(path: Path, flag: str, things: str) -> Iterator[RawPrompt]:
    """Yield a file's lines that are not blank, as they are read. Raises Problem as require_lines."""
    require_lines(path, flag, things)
    with readable(path), path.open("rb") as file:
        yield from from_lines(file, f"{path}: line", path.suffix.lower() in JSON_LINES)


def count_lines(path: Path, flag: str, things: str) -> int | None:
    """Return how many lines lines_of yields; None of a pipe, which can be read but once. Raises as it does."""
    require_lines(path, flag, things)
    with readable(path):
        is_file = path.is_file()
    return sum(1 for _ in lines_of(path, flag, things)) if is_file else None


def require_lines(path: Path, flag: str, things: str) -> None:
    """Raise Problem for what is no file with an end. flag, things: for its line."""
    with readable(path):
        if path.is_dir():
            raise Problem(f"{flag}: {path}: is a folder; expected a file with one {things} per line")
        if not path.exists():
            raise Problem(f"{flag}: {path}: there is no such file")
        if path.is_char_device() or path.is_block_device():  # a pipe has an end
            raise Problem(f"{flag}: {path}: is a device; expected a file with one {things} per line")


def from_pipe(stream: BinaryIO, *, continued: bool = False) -> Iterator[RawPrompt]:
    """Return the lines of a pipe, as they come. continued: those that end with a backslash with the next one."""
    try:
        yield from from_lines(joined(stream) if continued else stream, "line", False)
    except OSError as problem:
        raise Problem(f"stdin: cannot be read: {problem.strerror}") from None


def joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines, those that end with a backslash with the next one; of two at the end one is left."""
    begun = b""
    for line in lines:
        text = line.rstrip(b"\r\n")
        slashes = len(text) - len(text.rstrip(b"\\"))
        if slashes % 2:
            begun += text[:-1] + b"\n"
            continue
        yield begun + text[: len(text) - slashes // 2] + line[len(text) :]
        begun = b""
    if begun:
        yield begun


def from_lines(lines: Iterable[bytes], name: str, is_json: bool) -> Iterator[RawPrompt]:
    """Yield the lines that are not blank, numbered among these, and named by their line number."""
    number = 0
    for n, line in enumerate(lines, 1):
        text = line.removeprefix(codecs.BOM_UTF8) if n == 1 else line
        if text.strip():
            number += 1
            yield RawPrompt(number, f"{name} {n}", text.rstrip(b"\r\n"), is_json)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(f"{shown(twice)}: expected one value, got several")
    return found


def read_prompt(asked: RawPrompt) -> Prompt:
    """Return a prompt with what came with it, else raise Problem. Names of settings are checked by make_settings."""
    text, found = read_text(asked, "prompt")
    if not found:
        return Prompt(checked_text(text), {})
    carried = {name: _writable(name, found.pop(name)) for name in CARRIED if name in found}
    logprobs = found.pop(LOGPROBS, None)
    require_arguments(logprobs=logprobs)
    for ours in dict.fromkeys(OF_OPENAI.values()):
        names = [name for name in (ours, *OF_OPENAI) if OF_OPENAI.get(name, name) == ours and name in found]
        if len(names) > 1:
            raise Problem(f"{', '.join(names)}: expected one of them")
        if names:
            found[ours] = found.pop(names[0])
    return Prompt(checked_text(text), found, logprobs, carried)


def _writable(name: str, value: Any) -> Any:
    """Return a value that can stand in a record; raise Problem for NaN and lone surrogates, which json reads."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise Problem(f"{name}: expected what JSON in UTF-8 can have, got {shown(value)}") from None
    return value


def read_text(asked: RawPrompt, key: str) -> tuple[str, dict[str, Any]]:
    """Return a text, which has this key in a JSON object, and the other keys; raise Problem where there is none."""
    if not asked.is_json:
        return _decoded(asked.raw), {}
    try:
        found = json.loads(_decoded(asked.raw), object_pairs_hook=_named_once)
    except (ValueError, RecursionError) as problem:
        raise Problem(f"is not JSON: {problem}") from None
    if not isinstance(found, dict) or not isinstance(found.get(key), str):
        raise Problem(f'expected a JSON object with a "{key}" that is a text')
    return found.pop(key), found


def checked_text(text: str) -> str:
    """Return a text that can be a prompt, else raise Problem."""
    if found := CONTROL_CHARACTER.search(text):
        raise Problem(f"holds the control character U+{ord(found[0]):04X} at character {found.start() + 1}: remove it")
    return text


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as problem:
        raise Problem(f"expected UTF-8, got the byte 0x{raw[problem.start]:02x} at byte {problem.start + 1}") from None
