"""The tokenizer.json to put beside an IR: the checkpoint's own, or one made of vocab.json and merges.txt.

`tokenizers.Tokenizer.from_file(tokenizer.json).encode(text).ids` are the input_ids of transformers' AutoTokenizer for
the checkpoint's folder. What stands in its other files is written into it, with the precedence of transformers 5.23.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe.json_file import read_object
from gpt2_recipe.problem import Problem, one_line
from gpt2_recipe.tokenizer.added_tokens import CONFIG, END_OF_TEXT, NAMED, AddedToken

BYTE_LEVEL: dict[str, Any] = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
"""The pre-tokenizer and the decoder of transformers' GPT2Tokenizer."""
PLAIN_BPE: dict[str, Any] = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": "",
    "end_of_word_suffix": "",
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}
"""Its model, but for the vocabulary and the merges."""
LEFT_OUT = ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
"""The fields of a model that GPT2Tokenizer does not take over, and that change the tokens of a text."""


@dataclass(frozen=True)
class TokenizerSettings:
    """What transformers' GPT2Tokenizer takes from tokenizer_config.json and the files beside it."""

    is_gpt2: bool  # whether transformers makes a GPT2Tokenizer of the folder, which keeps only parts of tokenizer.json
    add_prefix_space: bool = False
    end_of_text: bool = True  # whether <|endoftext|> is a special token though no file names it
    begin: str | None = None  # the token before each text
    end: str | None = None  # the token after each text


def read_settings(folder: Path) -> TokenizerSettings:
    """Read the settings of a checkpoint's tokenizer. Raises Problem for a broken file."""
    config = _fields(folder / CONFIG)
    names = config if "added_tokens_decoder" in config else config | _fields(folder / NAMED)
    class_name = config.get("tokenizer_class") or _fields(folder / "config.json").get("tokenizer_class")
    return TokenizerSettings(
        is_gpt2=class_name in (None, "GPT2Tokenizer", "GPT2TokenizerFast"),
        add_prefix_space=config.get("add_prefix_space") is True,
        end_of_text=not {"bos_token", "eos_token", "unk_token"} <= names.keys(),
        begin=_content(names.get("bos_token", END_OF_TEXT)) if config.get("add_bos_token") is True else None,
        end=_content(names.get("eos_token", END_OF_TEXT)) if config.get("add_eos_token") is True else None,
    )


def make_tokenizer_json(
    ids: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    added: Sequence[AddedToken],
    settings: TokenizerSettings,
) -> dict[str, Any]:
    """Return the fields of the tokenizer.json of a vocab.json and its merges.txt."""
    known = {**ids, **{token.content: token.id for token in added}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_as_listed(token) for token in added],
        "normalizer": None,
        "pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": settings.add_prefix_space},
        "post_processor": _template(settings, known),
        "decoder": {**BYTE_LEVEL, "add_prefix_space": True},
        "model": {
            **PLAIN_BPE,
            "vocab": _with_ids_out_of_order(ids, added),
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }


def override_tokenizer_json(
    own: Mapping[str, Any], added: Sequence[AddedToken], settings: TokenizerSettings, of_bytes: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a checkpoint's own tokenizer.json as transformers uses it, and which of them it leaves out.

    of_bytes: whether its model is a BPE of bytes, of which GPT2Tokenizer takes the vocabulary, the merges, the added
    tokens and the post-processor alone.
    """
    fields, model = dict(own), own["model"]
    listed = own.get("added_tokens") or []
    known = {token.get("content") for token in listed if isinstance(token, dict)}
    if missing := [token for token in added if token.content not in known]:
        fields["added_tokens"] = [*listed, *map(_as_listed, missing)]
    changed = {"dropout": None} if model.get("dropout") else {}  # drawn at random, for training
    left_out = []
    if of_bytes and settings.is_gpt2:
        left_out = [name for name in LEFT_OUT if (model.get(name) or PLAIN_BPE[name]) != PLAIN_BPE[name]]
        changed |= {name: PLAIN_BPE[name] for name in left_out}
        left_out += _override_parts(fields, settings.add_prefix_space)
    if changed:
        fields["model"] = {**model, **changed}
    return fields, left_out


def _override_parts(fields: dict[str, Any], add_prefix_space: bool) -> list[str]:
    """Replace the parts that GPT2Tokenizer makes itself; return the names of those whose meaning is lost."""
    left_out = []
    if fields.get("normalizer") is not None:
        fields["normalizer"] = None
        left_out.append("normalizer")
    if not is_gpt2_split(fields.get("pre_tokenizer"), add_prefix_space):
        if not is_gpt2_split(fields.get("pre_tokenizer"), not add_prefix_space):
            left_out.append("pre_tokenizer")
        fields["pre_tokenizer"] = {**BYTE_LEVEL, "add_prefix_space": add_prefix_space}
    decoder = fields.get("decoder")
    if not (isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"):
        fields["decoder"] = {**BYTE_LEVEL, "add_prefix_space": True}
    return left_out


def is_gpt2_split(pre_tokenizer: Any, add_prefix_space: bool) -> bool:
    """Return whether a pre-tokenizer is that of GPT-2, which may stand in a Sequence of its own."""
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        inner = pre_tokenizer.get("pretokenizers")
        return isinstance(inner, list) and len(inner) == 1 and is_gpt2_split(inner[0], add_prefix_space)
    return (
        isinstance(pre_tokenizer, dict)
        and pre_tokenizer.get("type") == "ByteLevel"
        and pre_tokenizer.get("add_prefix_space", True) is add_prefix_space
        and pre_tokenizer.get("use_regex", True) is True
    )


def written(path: Path, fields: Mapping[str, Any]) -> bytes:
    """Return the bytes of a tokenizer.json, the same for the same fields; path: of the file to name in errors."""
    try:
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise Problem(f"{path}: expected tokens of Unicode characters, got a lone surrogate; fetch it again") from None


def check_loads(path: Path, content: bytes) -> None:
    """Raise Problem, naming the file it comes from, for a tokenizer.json that the tokenizers library cannot use."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - describes of other models do without it

    try:
        Tokenizer.from_str(content.decode()).encode("a")
    except UnicodeDecodeError as error:
        raise Problem(f"{path}: expected UTF-8, got the byte 0x{content[error.start]:02x}; fetch it again") from None
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # a panic of its Rust code
            raise
        raise Problem(f"{path}: the tokenizers library cannot use it: {one_line(error)}; fetch it again") from None


def _as_listed(token: AddedToken) -> dict[str, Any]:
    flags = asdict(token)
    return {"id": flags.pop("id"), "content": flags.pop("content"), **flags}


def _with_ids_out_of_order(ids: Mapping[str, int], added: Sequence[AddedToken]) -> dict[str, int]:
    """Return the vocabulary with the added tokens, if they do not have the ids that the library would count out."""
    new = [token for token in added if token.content not in ids]
    if [token.id for token in new] == list(range(len(ids), len(ids) + len(new))):
        return dict(ids)
    return {**ids, **{token.content: token.id for token in new}}


def _template(settings: TokenizerSettings, ids: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the post-processor that puts the tokens around a text; None: there are none."""
    begin, end = (token if token in ids else None for token in (settings.begin, settings.end))
    if begin is None and end is None:
        return None
    single, pair = (
        [
            *([_special(begin, kind)] if begin else []),
            {"Sequence": {"id": name, "type_id": kind}},
            *([_special(end, kind)] if end else []),
        ]
        for name, kind in (("A", 0), ("B", 1))
    )
    special = {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (begin, end) if token}
    return {"type": "TemplateProcessing", "single": single, "pair": [*single, *pair], "special_tokens": special}


def _special(token: str, kind: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": kind}}


def _content(token: Any) -> str | None:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _fields(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
