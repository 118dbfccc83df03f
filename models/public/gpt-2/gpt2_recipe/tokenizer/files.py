"""Choose a tokenizer's files to put beside an IR: tokenizer.json, and of a byte-level BPE vocab.json and merges.txt."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem
from gpt2_recipe.tokenizer.added_tokens import END_OF_TEXT, TOKENIZER, AddedToken, added_tokens
from gpt2_recipe.tokenizer.byte_level import BYTE_SYMBOLS, NotByteLevel, check_merges, check_vocabulary, read_merges
from gpt2_recipe.tokenizer.tokenizer_json import (
    LEFT_OUT,
    PLAIN_BPE,
    TokenizerSettings,
    check_loads,
    is_gpt2_split,
    make_tokenizer_json,
    override_tokenizer_json,
    read_settings,
    written,
)

VOCAB, MERGES = "vocab.json", "merges.txt"
COMPANIONS = (VOCAB, MERGES)
"""The files of a byte-level BPE beside the IR, which users of Open Model Zoo expect there."""
OPENAI = ("encoder.json", "vocab.bpe")
"""OpenAI's names of the same two files."""
OTHER_KINDS = ("vocab.txt", "spiece.model", "sentencepiece.model", "spm.model", "tokenizer.model")
"""Files of which transformers makes a tokenizer.json."""
UNUSED = "<|unused_{}|>"
"""The name given in vocab.json to an id of the embedding that no tokenizer file names."""
PLAIN_MODEL: dict[str, Any] = {name: PLAIN_BPE[name] for name in LEFT_OUT}
"""Of a BPE that vocab.json and merges.txt say all about."""


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
    """A tokenizer as the checkpoint has it.

    ids: the vocabulary, without added tokens. pairs: the merges, if it is a BPE of bytes. own: the fields of its
    tokenizer.json, and vocab, merges the files of that name, where it has them.
    """

    path: Path  # to name in errors and notes
    ids: dict[str, int]
    pairs: list[tuple[str, str]] | None
    own: dict[str, Any] | None = None
    vocab: Path | Companion | None = None
    merges: Path | Companion | None = None


def tokenizer_files(folder: Path, vocab_size: int) -> TokenizerFiles:
    """Return a checkpoint's tokenizer: as tokenizer.json, and a byte-level BPE as vocab.json and merges.txt too.

    vocab.json has a token for each row of the embedding.
    Raises Problem for a broken tokenizer file; for one that cannot be used a note, since the IR is useful without it.
    """
    try:
        tokenizer = _find(folder)
    except NotByteLevel as reason:
        return TokenizerFiles([], [f"{reason}; the IR has no tokenizer beside it, so the demo cannot run on it"])
    if tokenizer is None:
        lone = [folder / name for name in COMPANIONS if (folder / name).exists()]
        return TokenizerFiles([*lone], [_no_tokenizer(folder)])
    added, notes = added_tokens(folder, tokenizer.ids, vocab_size)
    fields, more = _tokenizer_json(tokenizer, added, read_settings(folder))
    companions = [_companion(tokenizer, fields, added)]
    if tokenizer.pairs is not None and _is_plain(fields):
        companions += [_vocab(tokenizer, added, vocab_size), _merges(tokenizer)]
    return TokenizerFiles(companions, [*notes, *more, *_past_the_rows(tokenizer, added, vocab_size)], added)


def _tokenizer_json(
    tokenizer: _Tokenizer, added: list[AddedToken], settings: TokenizerSettings
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of the tokenizer.json to write, and notes about what is not taken over."""
    is_unnamed = END_OF_TEXT in tokenizer.ids and not any(token.content == END_OF_TEXT for token in added)
    if settings.is_gpt2 and settings.end_of_text and tokenizer.pairs is not None and is_unnamed:
        end = AddedToken(END_OF_TEXT, tokenizer.ids[END_OF_TEXT], special=True)
        added = sorted([*added, end], key=lambda token: token.id)
    if tokenizer.own is None:
        return _made(tokenizer, added, settings), []
    fields, left_out = override_tokenizer_json(tokenizer.own, added, settings, tokenizer.pairs is not None)
    if not left_out:
        return fields, []
    return fields, [
        f"{tokenizer.path}: its {', '.join(left_out)} left out, as transformers does for a GPT2Tokenizer; to keep, "
        'write "tokenizer_class": "PreTrainedTokenizerFast" into tokenizer_config.json'
    ]


def _made(tokenizer: _Tokenizer, added: list[AddedToken], settings: TokenizerSettings) -> dict[str, Any]:
    assert tokenizer.pairs is not None
    return make_tokenizer_json(tokenizer.ids, tokenizer.pairs, added, settings)


def _companion(tokenizer: _Tokenizer, fields: dict[str, Any], added: list[AddedToken]) -> Path | Companion:
    """Return the tokenizer.json that the tokenizers library takes.

    It refuses one without all the fields that it writes itself: a plain one is then made of its vocabulary and merges.
    """
    is_own = fields == tokenizer.own
    content = tokenizer.path.read_bytes() if is_own else written(tokenizer.path, fields)
    try:
        check_loads(tokenizer.path, content)
    except Problem:
        if tokenizer.pairs is None or not _is_plain(fields) or fields.get("post_processor") is not None:
            raise
        settings = TokenizerSettings(True, is_gpt2_split(fields.get("pre_tokenizer"), True))
        is_own, content = False, written(tokenizer.path, _made(tokenizer, added, settings))
        check_loads(tokenizer.path, content)
    return tokenizer.path if is_own else Companion(TOKENIZER, content)


def _is_plain(fields: Mapping[str, Any]) -> bool:
    """Return whether vocab.json and merges.txt say how it splits a text, but for a space before it."""
    model, before = fields["model"], fields.get("pre_tokenizer")
    return (
        all((model.get(name) or plain) == plain for name, plain in PLAIN_MODEL.items())
        and fields.get("normalizer") is None
        and (is_gpt2_split(before, True) or is_gpt2_split(before, False))
    )


def _vocab(tokenizer: _Tokenizer, added: list[AddedToken], rows: int) -> Path | Companion:
    """Return vocab.json with the added tokens and a name for each other row, or as it is if the rows lack some ids."""
    ids = tokenizer.ids | {token.content: token.id for token in added if token.id < rows}
    if max(ids.values()) < rows:
        ids |= {_free_name(i, ids): i for i in sorted(set(range(rows)) - set(ids.values()))}
    else:
        ids = tokenizer.ids
    if ids == tokenizer.ids and tokenizer.vocab is not None:
        return tokenizer.vocab
    return Companion(VOCAB, json.dumps(ids, ensure_ascii=False).encode())


def _merges(tokenizer: _Tokenizer) -> Path | Companion:
    if tokenizer.merges is not None:
        return tokenizer.merges
    assert tokenizer.pairs is not None
    return Companion(
        MERGES, "".join(f"{line}\n" for line in ["#version: 0.2", *map(" ".join, tokenizer.pairs)]).encode()
    )


def _free_name(i: int, taken: Mapping[str, int]) -> str:
    name = UNUSED.format(i)
    while name in taken:
        name = f"{name}_"
    return name


def _find(folder: Path) -> _Tokenizer | None:
    if (folder / TOKENIZER).is_file():
        return _from_tokenizer_json(folder / TOKENIZER)
    for vocab, merges in (COMPANIONS, OPENAI):
        if (folder / vocab).is_file() and (folder / merges).is_file():
            files = [(folder / found, name) for found, name in ((vocab, VOCAB), (merges, MERGES))]
            named = [path if path.name == name else Companion(name, path.read_bytes()) for path, name in files]
            ids = _ids(folder / vocab, read_object(folder / vocab))
            check_vocabulary(folder / vocab, ids)
            pairs = read_merges(folder / merges)
            check_merges(folder / merges, pairs, ids)
            return _Tokenizer(folder / vocab, ids, list(pairs.values()), None, *named)
    return None


def _from_tokenizer_json(path: Path) -> _Tokenizer:
    own = read_object(path)
    model = own.get("model")
    if not isinstance(model, dict):
        raise Problem(f'{path}: "model": expected a JSON object; fetch it again')
    if not isinstance(own.get("added_tokens") or [], list):
        raise Problem(f'{path}: "added_tokens": expected a list; fetch it again')
    vocab = model.get("vocab")
    if model.get("type", "BPE" if "merges" in model else None) != "BPE":
        pieces = vocab if isinstance(vocab, dict) else {str(piece): i for i, piece in enumerate(_pieces(vocab))}
        return _Tokenizer(path, {token: i for token, i in pieces.items() if type(i) is int}, None, own)
    ids = _ids(path, vocab)
    if not ids.keys() >= BYTE_SYMBOLS:
        return _Tokenizer(path, ids, None, own)
    check_vocabulary(path, ids)
    pairs = _pairs(path, model.get("merges"))
    named = {f"merge {count}": pair for count, pair in enumerate(pairs, 1)}
    check_merges(path, named, ids, model.get("ignore_merges") is True)
    return _Tokenizer(path, ids, pairs, own, *_same_files(path.parent, ids, pairs))


def _pieces(vocab: Any) -> list[Any]:
    """Return the pieces of a Unigram model, which are listed with their scores."""
    entries = vocab if isinstance(vocab, list) else []
    return [entry[0] if isinstance(entry, list) and entry else entry for entry in entries]


def _same_files(folder: Path, ids: dict[str, int], pairs: list[tuple[str, str]]) -> tuple[Path | None, Path | None]:
    """Return the vocab.json and merges.txt beside a tokenizer.json, each if it says the same."""
    try:
        same_vocab = (folder / VOCAB).is_file() and read_object(folder / VOCAB) == ids
        same_merges = (folder / MERGES).is_file() and list(read_merges(folder / MERGES).values()) == pairs
    except Problem:
        return None, None
    return (folder / VOCAB if same_vocab else None, folder / MERGES if same_merges else None)


def _ids(path: Path, vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, dict) or not all(type(i) is int and i >= 0 for i in vocab.values()):
        raise Problem(f"{path}: expected a vocabulary of tokens and their ids; fetch it again")
    return vocab


def _pairs(path: Path, merges: Any) -> list[tuple[str, str]]:
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
    if others := [name for name in OTHER_KINDS if (folder / name).is_file()]:
        return (
            f"{folder / others[0]}: the IR has no tokenizer beside it; make a tokenizer.json of it and convert again: "
            f'python -c "from transformers import AutoTokenizer as T; T.from_pretrained({str(folder)!r})'
            f'.save_pretrained({str(folder)!r})"'
        )
    return (
        f"{folder}: holds neither vocab.json and merges.txt nor a tokenizer.json; "
        "the IR has no tokenizer beside it, so the demo needs --vocab and --merges"
    )


def _past_the_rows(tokenizer: _Tokenizer, added: list[AddedToken], rows: int) -> list[str]:
    """Return notes about tokens that the embedding has no row for."""
    past = sum(i >= rows for i in tokenizer.ids.values())
    if past:
        have = "has" if past == 1 else "have"
        return [
            f"{tokenizer.path}: {past} of its {len(tokenizer.ids)} tokens {have} no row in the embedding of {rows} "
            "rows, so the demo refuses it; put the tokenizer that the checkpoint was trained with into the folder"
        ]
    return [
        f"{tokenizer.path.parent}: its added token {token.content!r} has the id {token.id}, and the embedding {rows} "
        "rows; the demo refuses a prompt with it"
        for token in added
        if token.id >= rows
    ]
