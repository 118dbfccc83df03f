"""Read the added tokens of a checkpoint's tokenizer files, with their flags.

transformers matches them in a text before any merge, and leaves the special ones out of decoded text.
"""

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
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
"""The files that list them, by the version of transformers that wrote the folder; the first to list a token counts."""
FLAGS = ("special", "lstrip", "rstrip", "single_word")
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""In the order in which transformers adds the tokens that have no id yet; others come after them."""
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class AddedToken:
    """An added token, with the flags of the tokenizers library."""

    content: str
    id: int
    special: bool = False
    lstrip: bool = False  # also matches the white space before it
    rstrip: bool = False
    single_word: bool = False  # only matches between non-letters
    normalized: bool = False  # matched after the normalizer


def added_tokens(folder: Path, ids: Mapping[str, int], rows: int = 0) -> tuple[list[AddedToken], list[str]]:
    """Return the added tokens in the order of their ids, and notes about those whose id is already in use.

    ids: the vocabulary, whose id of a token overrides the files'. rows: of the embedding; tokens that are named, as
    pad_token and the like, without an id get the next ones that it has.
    Raises Problem for a broken file.
    """
    names = {i: token for token, i in ids.items()}
    kept, notes = [], []
    listed, named = _listed_tokens(folder, ids), _named(folder)
    for token in listed:
        owner = names.setdefault(token.id, token.content)
        if owner == token.content:
            kept.append(token)
        else:
            notes.append(f"{folder}: its added token {token.content!r} has the id {token.id} of {owner!r}: left out")
    known = ids.keys() | {token.content for token in listed}
    for content, fields in named.items():
        following = max(names, default=-1) + 1
        if content not in known and following < rows:
            names[following] = content
            kept.append(_token(content, following, fields))
    return sorted(kept, key=lambda token: token.id), notes


def as_fact(tokens: Iterable[AddedToken]) -> str | None:
    """Return the tokens as text for an IR's rt_info; None if <|endoftext|>, which every GPT-2 has, is the only one."""
    listed = [replace(token, normalized=False) for token in tokens]
    if all(token == AddedToken(END_OF_TEXT, token.id, special=True) for token in listed):
        return None
    return json.dumps(
        [{name: value for name, value in asdict(token).items() if name != "normalized"} for token in listed]
    )


def from_fact(text: str) -> list[AddedToken]:
    """Parse the text of as_fact; ValueError or TypeError for anything else."""
    return [AddedToken(**fields) for fields in json.loads(text)]


def _listed_tokens(folder: Path, ids: Mapping[str, int]) -> list[AddedToken]:
    """Return the tokens that files list, and those of the vocabulary that they name."""
    named = _named(folder)
    found: dict[str, AddedToken] = {}
    for path, i, fields in _listed(folder, named):
        content = fields["content"]
        if type(i) is not int or i < 0 or any("\ud800" <= symbol <= "\udfff" for symbol in content):
            raise Problem(f"{path}: {content!a}: expected an added token and its id, got the id {i!r}; fetch it again")
        found.setdefault(content, _token(content, ids.get(content, i), fields))
    for content in sorted(named.keys() & ids.keys() - found.keys()):
        found[content] = _token(content, ids[content], named[content])
    return list(found.values())


def _token(content: str, i: int, fields: Mapping[str, Any]) -> AddedToken:
    flags = {flag: fields.get(flag) is True for flag in FLAGS}
    normalized = fields.get("normalized", not flags["special"])
    return AddedToken(content, i, **flags, normalized=normalized is True)


def _listed(folder: Path, named: Container[str]) -> Iterator[tuple[Path, Any, Mapping[str, Any]]]:
    """Yield (file, id, fields with content) of each added token, file by file."""
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


def _named(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the tokens that the files name as pad_token, additional_special_tokens and the like, with their flags."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in (CONFIG, NAMED):
        fields = _fields(folder / name)
        for role in sorted(fields, key=lambda role: ROLES.index(role) if role in ROLES else len(ROLES)):
            if role.endswith(("_token", "_special_tokens")):
                tokens = fields[role] if isinstance(fields[role], list) else [fields[role]]
                for token in tokens:
                    flags = token if isinstance(token, dict) else {"content": token}
                    if isinstance(flags.get("content"), str):
                        found.setdefault(flags["content"], {**flags, "special": True})
    return found


def _fields(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
