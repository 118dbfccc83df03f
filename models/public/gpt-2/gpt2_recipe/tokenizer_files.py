"""The vocab.json and merges.txt that belong beside an IR, from whichever tokenizer files a checkpoint has.

It knows no weights: the number of ids that the embedding has is given to it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem

VOCAB, MERGES = "vocab.json", "merges.txt"
COMPANIONS = (VOCAB, MERGES)
"""The tokenizer's files, which lie beside the IR so that its path alone is enough to use it."""
OPENAI = ("encoder.json", "vocab.bpe")
"""What OpenAI calls the same two files."""
TOKENIZER = "tokenizer.json"
UNUSED = "<|unused_{}|>"
"""The name of an id that the embedding has and no tokenizer file names."""
PLAIN_MODEL: dict[str, Any] = {"continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": False}
PLAIN_BYTES: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


@dataclass(frozen=True)
class Companion:
    """A file to be written beside the IR that the checkpoint has in another form."""

    name: str
    content: bytes


@dataclass(frozen=True)
class TokenizerFiles:
    """What to lay beside the IR, and lines for the user where that is not all he needs."""

    companions: list[Path | Companion]
    notes: list[str]


@dataclass(frozen=True)
class _Tokenizer:
    """A byte-level BPE, with the files that hold it already or none."""

    ids: dict[str, int]
    merges: Path | Companion
    vocab: Path | Companion


def tokenizer_files(folder: Path, vocab_size: int) -> TokenizerFiles:
    """Return what lies in a checkpoint's folder as vocab.json and merges.txt, with a token for each of its ids.

    Raises Problem for a tokenizer file that is broken; one of another kind is a note, since the IR is of use without.
    """
    try:
        tokenizer = _find(folder)
    except _NotByteLevel as reason:
        return TokenizerFiles([], [f"{reason}; the IR has no tokenizer beside it, so the demo cannot run on it"])
    if tokenizer is None:
        lone = [folder / name for name in COMPANIONS if (folder / name).exists()]
        return TokenizerFiles([*lone], [_no_tokenizer(folder)])
    ids = {**tokenizer.ids, **_added_tokens(folder, tokenizer.ids)}
    if len(ids) > vocab_size or not set(ids.values()) <= set(range(vocab_size)):
        note = (
            f"{folder}: its tokenizer has ids that the embedding of {vocab_size} rows has not; the demo will refuse it"
        )
        return TokenizerFiles([tokenizer.vocab, tokenizer.merges], [note])
    unused = sorted(set(range(vocab_size)) - set(ids.values()))
    ids |= {UNUSED.format(i): i for i in unused}
    if ids == tokenizer.ids:
        return TokenizerFiles([tokenizer.vocab, tokenizer.merges], [])
    vocab = Companion(VOCAB, json.dumps(ids, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return TokenizerFiles([vocab, tokenizer.merges], _what_was_added(folder, len(ids) - len(tokenizer.ids), unused))


class _NotByteLevel(Exception):
    """Why a tokenizer cannot be written as vocab.json and merges.txt."""


def _find(folder: Path) -> _Tokenizer | None:
    for vocab, merges in (COMPANIONS, OPENAI):
        if (folder / vocab).is_file() and (folder / merges).is_file():
            files = [(folder / found, name) for found, name in ((vocab, VOCAB), (merges, MERGES))]
            named = [path if path.name == name else Companion(name, path.read_bytes()) for path, name in files]
            return _Tokenizer(_ids(folder / vocab, read_object(folder / vocab)), vocab=named[0], merges=named[1])
    if (folder / TOKENIZER).is_file():
        return _from_tokenizer_json(folder / TOKENIZER)
    return None


def _from_tokenizer_json(path: Path) -> _Tokenizer:
    fields = read_object(path)
    model = fields.get("model")
    if not isinstance(model, dict):
        raise Problem(f'{path}: "model": expected a JSON object; fetch it again')
    _refuse_other_kinds(path, fields, model)
    ids = _ids(path, model.get("vocab"))
    merges = "".join(f"{line}\n" for line in ["#version: 0.2", *_merges(path, model.get("merges"))])
    vocab = json.dumps(ids, ensure_ascii=False)
    return _Tokenizer(
        ids,
        vocab=Companion(VOCAB, vocab.encode("utf-8", "surrogatepass")),
        merges=Companion(MERGES, merges.encode("utf-8", "surrogatepass")),
    )


def _refuse_other_kinds(path: Path, fields: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    kind = model.get("type", "BPE" if "merges" in model else "another model")
    if kind != "BPE":
        raise _NotByteLevel(f"{path}: expected a byte-level BPE as GPT-2's, got {kind}")
    changed = [name for name, plain in PLAIN_MODEL.items() if (model.get(name) or plain) != plain]
    if fields.get("normalizer") is not None:
        changed.append("normalizer")
    before = fields.get("pre_tokenizer")
    if not isinstance(before, dict) or any(before.get(name, plain) != plain for name, plain in PLAIN_BYTES.items()):
        changed.append("pre_tokenizer")
    if changed:
        raise _NotByteLevel(f"{path}: expected a byte-level BPE as GPT-2's, got one with another {', '.join(changed)}")


def _ids(path: Path, vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, dict) or not all(type(i) is int and i >= 0 for i in vocab.values()):
        raise Problem(f"{path}: expected a vocabulary of tokens and their ids; fetch it again")
    return vocab


def _merges(path: Path, merges: Any) -> list[str]:
    """Return the lines of merges.txt; tokenizer.json holds strings or pairs, by the version that wrote it."""
    pairs = (
        [pair.split(" ") if isinstance(pair, str) else pair for pair in merges] if isinstance(merges, list) else None
    )
    if pairs is None or not all(_is_pair(pair) for pair in pairs):
        raise Problem(f'{path}: "merges": expected a list of pairs; fetch it again')
    return [" ".join(pair) for pair in pairs]


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(part, str) and part and not set(part) & set(" \r\n") for part in pair)
    )


def _added_tokens(folder: Path, ids: Mapping[str, int]) -> dict[str, int]:
    """Return the tokens that fine-tuning added, which the vocabulary proper does not hold."""
    found: dict[str, int] = {}
    if (folder / TOKENIZER).is_file():
        listed = read_object(folder / TOKENIZER).get("added_tokens")
        for token in listed if isinstance(listed, list) else []:
            if isinstance(token, dict) and isinstance(token.get("content"), str):
                found[token["content"]] = token.get("id", -1)
    if (folder / "added_tokens.json").is_file():
        found |= read_object(folder / "added_tokens.json")
    taken = set(ids.values())
    new = {token: i for token, i in _ids(folder, found).items() if token not in ids}
    return {token: i for token, i in new.items() if i not in taken}


def _no_tokenizer(folder: Path) -> str:
    return (
        f"{folder}: holds neither vocab.json and merges.txt nor a tokenizer.json; "
        "the IR has no tokenizer beside it, so the demo needs --vocab and --merges"
    )


def _what_was_added(folder: Path, count: int, unused: list[int]) -> list[str]:
    named = f", {len(unused)} of them named {UNUSED.format(unused[0])} and so on" if unused else ""
    return [
        f"{folder}: vocab.json beside the IR holds {count} tokens more than the vocabulary of the checkpoint{named}"
    ]
