"""The tokens that a checkpoint's tokenizer files add to its vocabulary, and what they mean; it writes no file.

transformers finds them in a text before anything else, and leaves the special ones out of what it decodes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem

TOKENIZER, LISTED, CONFIG, NAMED = (
    "tokenizer.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""Where they stand, by the version of transformers that wrote the folder; the first that tells of a token counts."""
FLAGS = ("special", "lstrip", "rstrip", "single_word")
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class AddedToken:
    """One of them, with the published names of its flags."""

    content: str
    id: int
    special: bool = False
    lstrip: bool = False  # takes the white space before it
    rstrip: bool = False
    single_word: bool = False  # only where no letter touches it


def added_tokens(folder: Path, ids: Mapping[str, int]) -> tuple[list[AddedToken], list[str]]:
    """Return them in the order of their ids, and notes about those whose id another token has.

    ids: the vocabulary, which decides where it holds the token itself. Raises Problem for a broken file.
    """
    names = {i: token for token, i in ids.items()}
    kept, notes = [], []
    for token in _first_told(folder, ids):
        owner = names.setdefault(token.id, token.content)
        if owner == token.content:
            kept.append(token)
        else:
            notes.append(f"{folder}: its added token {token.content!r} has the id {token.id} of {owner!r}: left out")
    return sorted(kept, key=lambda token: token.id), notes


def as_fact(tokens: Iterable[AddedToken]) -> str | None:
    """Return them as text for an IR's rt_info; None where <|endoftext|>, which every GPT-2 has, is the only one."""
    listed = list(tokens)
    if all(token == AddedToken(END_OF_TEXT, token.id, special=True) for token in listed):
        return None
    return json.dumps([asdict(token) for token in listed])


def from_fact(text: str) -> list[AddedToken]:
    """Return what as_fact wrote; ValueError or TypeError for anything else."""
    return [AddedToken(**fields) for fields in json.loads(text)]


def _first_told(folder: Path, ids: Mapping[str, int]) -> list[AddedToken]:
    named = set(_named(folder))
    found: dict[str, AddedToken] = {}
    for path, i, fields in _told(folder, named):
        content = fields["content"]
        if type(i) is not int or i < 0 or any("\ud800" <= symbol <= "\udfff" for symbol in content):
            raise Problem(f"{path}: {content!a}: expected an added token and its id, got the id {i!r}; fetch it again")
        flags = {flag: fields.get(flag) is True for flag in FLAGS}
        found.setdefault(content, AddedToken(content, ids.get(content, i), **flags))
    for content in sorted(named & ids.keys() - found.keys()):
        found[content] = AddedToken(content, ids[content], special=True)
    return list(found.values())


def _told(folder: Path, named: set[str]) -> Iterator[tuple[Path, Any, Mapping[str, Any]]]:
    """Yield (file, id, fields with content) of each added token, of whatever file it stands in."""
    listed = _fields(folder / TOKENIZER).get("added_tokens")
    for fields in listed if isinstance(listed, list) else []:
        if isinstance(fields, dict) and isinstance(fields.get("content"), str):
            yield folder / TOKENIZER, fields.get("id"), fields
    decoder = _fields(folder / CONFIG).get("added_tokens_decoder")
    for i, fields in decoder.items() if isinstance(decoder, dict) else []:
        if isinstance(fields, dict) and isinstance(fields.get("content"), str):
            yield folder / CONFIG, int(i) if i.isdecimal() and len(i) < 10 else i, fields
    for content, i in _fields(folder / LISTED).items():
        yield folder / LISTED, i, {"content": content, "special": content in named}


def _named(folder: Path) -> Iterator[str]:
    """Yield what the files call pad_token, additional_special_tokens and the like."""
    for name in (CONFIG, NAMED):
        for key, value in _fields(folder / name).items():
            if key.endswith(("_token", "_special_tokens")):
                for token in value if isinstance(value, list) else [value]:
                    content = token.get("content") if isinstance(token, dict) else token
                    if isinstance(content, str):
                        yield content


def _fields(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
