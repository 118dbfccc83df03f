"""The tokens that begin and end a text, from the files of a checkpoint folder.

Of the eos and the bos token each, the first of these files that names it counts: generation_config.json, config.json,
tokenizer_config.json. transformers' generate reads the first two, its tokenizers the last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe.config import GPT2Config, token_ids
from gpt2_recipe.json_file import read_object
from gpt2_recipe.tokenizer.added_tokens import added_tokens

GENERATION_CONFIG, TOKENIZER_CONFIG = "generation_config.json", "tokenizer_config.json"
VOCABULARIES = ("tokenizer.json", "vocab.json", "encoder.json")


@dataclass(frozen=True)
class SpecialTokens:
    """eos: all ids that end a text; bos: the id that begins one, if any."""

    eos: tuple[int, ...]
    bos: int | None


def special_tokens(folder: Path, config: GPT2Config, tokenizer_folder: Path | None = None) -> SpecialTokens:
    """Return the special tokens of a checkpoint, whose tokenizer may lie in a folder of its own.

    Raises Problem for a broken file, and for an id that is none of the model's.
    """
    path = folder / GENERATION_CONFIG
    fields = read_object(path) if path.is_file() else {}
    eos = token_ids(path, fields, "eos_token_id", config.vocab_size) or config.eos_token_ids
    bos = token_ids(path, fields, "bos_token_id", config.vocab_size) or config.bos_token_ids
    return SpecialTokens(
        eos or _named(tokenizer_folder or folder, "eos_token", config.vocab_size),
        next(iter(bos or _named(tokenizer_folder or folder, "bos_token", config.vocab_size)), None),
    )


def _named(folder: Path, name: str, vocab_size: int) -> tuple[int, ...]:
    """Return the id of the token that tokenizer_config.json names so; none if it or its id is not known."""
    path = folder / TOKENIZER_CONFIG
    token = read_object(path).get(name) if path.is_file() else None
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str):
        return ()
    vocabulary = _vocabulary(folder)
    added = {token.content: token.id for token in added_tokens(folder, vocabulary)[0]}
    found = {**vocabulary, **added}.get(content)
    return (found,) if type(found) is int and found < vocab_size else ()


def _vocabulary(folder: Path) -> Mapping[str, int]:
    for name in VOCABULARIES:
        if (folder / name).is_file():
            fields: Any = read_object(folder / name)
            model = fields.get("model") if name == "tokenizer.json" else {"vocab": fields}
            ids = model.get("vocab") if isinstance(model, dict) else None
            return ids if isinstance(ids, dict) else {}  # a Unigram has a list; its special tokens are added tokens
    return {}
