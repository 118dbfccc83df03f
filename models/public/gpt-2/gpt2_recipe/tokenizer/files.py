"""Make the vocab.json and merges.txt to put beside an IR, from whichever tokenizer files a checkpoint has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem
from gpt2_recipe.tokenizer.added_tokens import AddedToken, added_tokens
from gpt2_recipe.tokenizer.byte_level import (
    NotByteLevel,
    check_merges,
    check_vocabulary,
    max_unreachable,
    read_merges,
    unreachable_tokens,
)

VOCAB, MERGES = "vocab.json", "merges.txt"
COMPANIONS = (VOCAB, MERGES)
"""The tokenizer's files beside the IR, so that the path of the IR alone is enough to run it."""
OPENAI = ("encoder.json", "vocab.bpe")
"""OpenAI's names of the same two files."""
TOKENIZER = "tokenizer.json"
UNUSED = "<|unused_{}|>"
"""The name given to an id of the embedding that no tokenizer file names."""
PLAIN_MODEL: dict[str, Any] = {"continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": False}
PLAIN_BYTES: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


@dataclass(frozen=True)
class Companion:
    """A file to write beside the IR, with its content."""

    name: str
    content: bytes


@dataclass(frozen=True)
class TokenizerFiles:
    """Files to put beside the IR, notes for the user, and the added (special) tokens."""

    companions: list[Path | Companion]
    notes: list[str]
    added: list[AddedToken] = field(default_factory=list)


@dataclass(frozen=True)
class _Tokenizer:
    """A byte-level BPE, with its files: the checkpoint's own, or to be written."""

    ids: dict[str, int]
    pairs: list[tuple[str, str]]
    merges: Path | Companion
    vocab: Path | Companion


def tokenizer_files(folder: Path, vocab_size: int) -> TokenizerFiles:
    """Return a checkpoint's tokenizer as vocab.json and merges.txt, with a token for each row of the embedding.

    Raises Problem for a broken tokenizer file; for one of another kind a note, since the IR is useful without it.
    """
    try:
        tokenizer = _find(folder)
    except NotByteLevel as reason:
        return TokenizerFiles([], [f"{reason}; the IR has no tokenizer beside it, so the demo cannot run on it"])
    if tokenizer is None:
        lone = [folder / name for name in COMPANIONS if (folder / name).exists()]
        return TokenizerFiles([*lone], [_no_tokenizer(folder)])
    added, notes = added_tokens(folder, tokenizer.ids)
    ids = tokenizer.ids | {token.content: token.id for token in added}
    if not set(ids.values()) <= set(range(vocab_size)):
        notes.append(
            f"{folder}: its tokenizer has ids that the embedding of {vocab_size} rows has not; the demo will refuse it"
        )
        return TokenizerFiles([tokenizer.vocab, tokenizer.merges], notes)
    unused = sorted(set(range(vocab_size)) - set(ids.values()))
    ids |= {_free_name(i, ids): i for i in unused}
    vocab = tokenizer.vocab
    if ids != tokenizer.ids:
        vocab = Companion(VOCAB, json.dumps(ids, ensure_ascii=False).encode())
        notes += _notes_on_added(folder, tokenizer, ids, unused)
    notes += [
        f"{folder}: its added token {token.content!r} counts as a whole word only, which gpt2_export does not carry"
        for token in added
        if token.single_word
    ]
    return TokenizerFiles([vocab, tokenizer.merges], notes, added)


def _free_name(i: int, taken: Mapping[str, int]) -> str:
    name = UNUSED.format(i)
    while name in taken:
        name = f"{name}_"
    return name


def _find(folder: Path) -> _Tokenizer | None:
    for vocab, merges in (COMPANIONS, OPENAI):
        if (folder / vocab).is_file() and (folder / merges).is_file():
            files = [(folder / found, name) for found, name in ((vocab, VOCAB), (merges, MERGES))]
            named = [path if path.name == name else Companion(name, path.read_bytes()) for path, name in files]
            ids = _ids(folder / vocab, read_object(folder / vocab))
            pairs = read_merges(folder / merges)
            check_merges(folder / merges, pairs, ids)
            return _Tokenizer(ids, list(pairs.values()), vocab=named[0], merges=named[1])
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
    pairs = _merges(path, model.get("merges"))
    check_merges(path, {f"merge {count}": pair for count, pair in enumerate(pairs, 1)}, ids)
    merges = "".join(f"{line}\n" for line in ["#version: 0.2", *map(" ".join, pairs)])
    return _Tokenizer(
        ids,
        pairs,
        vocab=Companion(VOCAB, json.dumps(ids, ensure_ascii=False).encode()),
        merges=Companion(MERGES, merges.encode()),
    )


def _refuse_other_kinds(path: Path, fields: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    kind = model.get("type", "BPE" if "merges" in model else "another model")
    if kind != "BPE":
        raise NotByteLevel(f"{path}: expected a byte-level BPE as GPT-2's, got {kind}")
    changed = [name for name, plain in PLAIN_MODEL.items() if (model.get(name) or plain) != plain]
    if fields.get("normalizer") is not None:
        changed.append("normalizer")
    before = fields.get("pre_tokenizer")
    if not isinstance(before, dict) or any(before.get(name, plain) != plain for name, plain in PLAIN_BYTES.items()):
        changed.append("pre_tokenizer")
    if changed:
        raise NotByteLevel(f"{path}: expected a byte-level BPE as GPT-2's, got one with another {', '.join(changed)}")


def _ids(path: Path, vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, dict) or not all(type(i) is int and i >= 0 for i in vocab.values()):
        raise Problem(f"{path}: expected a vocabulary of tokens and their ids; fetch it again")
    check_vocabulary(path, vocab)
    return vocab


def _merges(path: Path, merges: Any) -> list[tuple[str, str]]:
    """Return the pairs; tokenizer.json has strings or pairs, depending on the version that wrote it."""
    pairs = (
        [pair.split(" ") if isinstance(pair, str) else pair for pair in merges] if isinstance(merges, list) else None
    )
    if pairs is None or not all(_is_pair(pair) for pair in pairs):
        raise Problem(f'{path}: "merges": expected a list of pairs; fetch it again')
    return [(left, right) for left, right in pairs]


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(part, str) and part and not set(part) & set(" \r\n") for part in pair)
    )


def _no_tokenizer(folder: Path) -> str:
    return (
        f"{folder}: holds neither vocab.json and merges.txt nor a tokenizer.json; "
        "the IR has no tokenizer beside it, so the demo needs --vocab and --merges"
    )


def _notes_on_added(folder: Path, tokenizer: _Tokenizer, ids: Mapping[str, int], unused: list[int]) -> list[str]:
    count = len(ids) - len(tokenizer.ids)
    named = f", {len(unused)} of them named {UNUSED.format(unused[0])} and so on" if unused else ""
    tokens = "1 token" if count == 1 else f"{count} tokens"
    notes = [f"{folder}: vocab.json beside the IR holds {tokens} more than the vocabulary of the checkpoint{named}"]
    strange = len(unreachable_tokens(tokenizer.pairs, ids.keys()))
    if strange > max_unreachable(len(ids)):
        notes.append(
            f"{folder}: {strange} of its tokens are made by no merge, and the demo accepts {max_unreachable(len(ids))} "
            "of that kind; the demo will refuse it"
        )
    return notes
