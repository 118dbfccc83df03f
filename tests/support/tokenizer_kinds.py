"""Folders with the tokenizer of a checkpoint, of each kind that people have: a builder for each, by name.

Vocabularies are gpt-2-mini's or a few words; `rows` is what the embedding of such a checkpoint has.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from gpt2_recipe.tokenizer.files import tokenizer_files
from support import ROOT

MINI = ROOT / "models/public/gpt-2-mini"
TOKENS = 8192  # of its vocabulary
END = "<|endoftext|>"
ANY_CLASS = {"tokenizer_class": "PreTrainedTokenizerFast"}
"""With it, transformers takes all of a tokenizer.json; without it, what its GPT2Tokenizer keeps."""
TEXTS = (
    "Hello WORLD",
    " The rain in 1984,  it's\n",
    "caf\u00e9 \u65e5\u672c \U0001f600",
    "a [PAD] b<|user|> Hi [PAD][PAD] tok<|user|>",
    "",
)


@dataclass(frozen=True)
class TokenizerKind:
    """A kind: what writes its files into an empty folder, and how many rows its embedding has."""

    write: Callable[[Path], None]
    rows: int = TOKENS


def write_kind(name: str, folder: Path) -> Path:
    """Write the files of a kind and a config.json; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": KINDS[name].rows}))
    KINDS[name].write(folder)
    return folder


def beside_ir(name: str, folder: Path) -> Path:
    """Lay the tokenizer of a kind into a folder as the converter does; return the path of an .xml there."""
    checkpoint = write_kind(name, folder / "checkpoint")
    for companion in tokenizer_files(checkpoint, KINDS[name].rows).companions:
        content = companion.read_bytes() if isinstance(companion, Path) else companion.content
        (folder / companion.name).write_bytes(content)
    return folder / "model.xml"


def mini_bpe(**changed: Any) -> Tokenizer:
    """gpt-2-mini's tokenizer, as transformers would save it."""
    ids, lines = json.loads((MINI / "vocab.json").read_bytes()), (MINI / "merges.txt").read_text().splitlines()
    merges = [(left, right) for left, right in (line.split(" ") for line in lines if not line.startswith("#version"))]
    tokenizer = Tokenizer(models.BPE(ids, merges, **changed))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer


def _files(folder: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(MINI / name, folder / name)


def _json(folder: Path, name: str, **fields: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(fields))


def _save(tokenizer: Tokenizer, folder: Path, **config: Any) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    if config:
        _json(folder, "tokenizer_config", **config)


def _plain(folder: Path) -> None:
    _files(folder)


def _prefix_space(folder: Path) -> None:
    _files(folder)
    _json(folder, "tokenizer_config", add_prefix_space=True)


def _prefix_space_over_tokenizer_json(folder: Path) -> None:
    _save(mini_bpe(), folder, tokenizer_class="GPT2Tokenizer", add_prefix_space=True)


def _bos_token(folder: Path) -> None:
    _files(folder)
    _json(folder, "tokenizer_config", add_bos_token=True, bos_token=END)


def _bos_and_eos_token(folder: Path) -> None:
    _files(folder)
    _json(folder, "tokenizer_config", add_bos_token=True, add_eos_token=True)
    _json(folder, "special_tokens_map", bos_token={"content": "<s>", "lstrip": False}, eos_token="</s>")
    _json(folder, "added_tokens", **{"<s>": TOKENS, "</s>": TOKENS + 1})


def _bos_beside_tokenizer_json(folder: Path) -> None:
    _save(mini_bpe(), folder, tokenizer_class="GPT2Tokenizer", add_bos_token=True, bos_token=END)


def _template(folder: Path) -> None:
    tokenizer = mini_bpe()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A {END}", special_tokens=[(END, 0)])
    _files(folder)
    _save(tokenizer, folder)


def _normalizer(folder: Path) -> None:
    tokenizer = mini_bpe()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    _files(folder)
    _save(tokenizer, folder, **ANY_CLASS)


def _normalizer_of_gpt2(folder: Path) -> None:
    tokenizer = mini_bpe()
    tokenizer.normalizer = normalizers.Lowercase()
    _save(tokenizer, folder)


def _pre_tokenizer(folder: Path) -> None:
    tokenizer = mini_bpe()
    split = pre_tokenizers.Split(Regex(r"\d| ?\w+|\s+|[^\w\s]+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    _files(folder)
    _save(tokenizer, folder, **ANY_CLASS)


def _sequence_of_one(folder: Path) -> None:
    tokenizer = mini_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    _save(tokenizer, folder)


def _another_vocabulary(folder: Path) -> None:
    """vocab.json is of the first half of the merges: only tokenizer.json is the checkpoint's."""
    ids = json.loads((MINI / "vocab.json").read_bytes())
    lines = (MINI / "merges.txt").read_text().splitlines()[:900]
    made = {line.replace(" ", "") for line in lines}
    kept = [token for token in ids if len(token) == 1 or token in made]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(kept)}))
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    _save(mini_bpe(), folder)


def _ignore_merges(folder: Path) -> None:
    fields = json.loads(mini_bpe(ignore_merges=True).to_str())
    fields["model"]["merges"] = fields["model"]["merges"][:200]
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    _files(folder)
    _json(folder, "tokenizer_config", **ANY_CLASS)


def _added_tokens(folder: Path) -> None:
    _files(folder)
    flags = {"single_word": False, "normalized": False, "special": True}
    tokens = {
        "0": {"content": END, "lstrip": False, "rstrip": False, **flags},
        str(TOKENS): {"content": "<|user|>", "lstrip": True, "rstrip": True, **flags},
        str(TOKENS + 1): {"content": "[PAD]", "lstrip": True, "rstrip": False, **flags, "special": False},
        str(TOKENS + 2): {
            "content": "tok",
            "lstrip": False,
            "rstrip": False,
            **flags,
            "single_word": True,
            "special": False,
        },
    }
    _json(folder, "tokenizer_config", added_tokens_decoder=tokens, pad_token="[PAD]")


def _added_tokens_json(folder: Path) -> None:
    _files(folder)
    _json(folder, "added_tokens", **{"<|user|>": TOKENS, "[PAD]": TOKENS + 1})
    _json(folder, "special_tokens_map", pad_token={"content": "[PAD]", "lstrip": True, "rstrip": False})


def _hundreds_of_added_tokens(folder: Path) -> None:
    tokenizer = mini_bpe()
    tokenizer.add_tokens(["<|user|>", *(f"<|extra_{i}|>" for i in range(600))])
    _save(tokenizer, folder)


def _named_without_an_id(folder: Path) -> None:
    _files(folder)
    _json(folder, "tokenizer_config", pad_token="[PAD]", additional_special_tokens=["<|user|>"])


def _added_in_tokenizer_json(folder: Path) -> None:
    tokenizer = mini_bpe()
    tokenizer.add_special_tokens([AddedToken("[PAD]", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("<|user|>", lstrip=True)])
    _files(folder)
    _save(tokenizer, folder)


def _word_piece(folder: Path) -> None:
    """As GPT2-Chinese, whose tokenizer is BERT's."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u65e5", "\u672c", "hello", "the", "world", "##s", "rain", "in", "'"]
    words += ["1", "##9", "##8", "##4", "caf", "##e", ",", "a", "b", "it", "s", "!", "."]
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(words[:4])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    _save(tokenizer, folder, **ANY_CLASS, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]")


WORDS = (
    "\u2581",
    "\u2581Hello",
    "\u2581The",
    "\u2581rain",
    "\u2581in",
    "\u2581a",
    "\u65e5",
    "\u672c",
    "\u2581b",
    "\u2581it",
)


def _unigram(folder: Path) -> None:
    """As rinna's: pieces of SentencePiece."""
    _save_unigram(folder, [], decoders.Metaspace())


def _unigram_with_bytes(folder: Path) -> None:
    """As GPT-SW3's: bytes for characters that it has no piece for."""
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    _save_unigram(folder, [(f"<0x{byte:02X}>", -20.0) for byte in range(256)], decoders.Sequence(steps))


def _save_unigram(folder: Path, of_bytes: list[tuple[str, float]], decoder: Any) -> None:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("[PAD]", 0.0), *of_bytes]
    words = dict.fromkeys([*WORDS, *"abcfeHloWORLDThrin1984,it's"])
    pieces += [(word, -2.0 - i / 100) for i, word in enumerate(words)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=bool(of_bytes)))
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "[PAD]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    _save(tokenizer, folder, **ANY_CLASS, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="[PAD]")


KINDS = {
    "plain": TokenizerKind(_plain),
    "add_prefix_space": TokenizerKind(_prefix_space),
    "add_prefix_space over tokenizer.json": TokenizerKind(_prefix_space_over_tokenizer_json),
    "add_bos_token": TokenizerKind(_bos_token),
    "add_bos_token and add_eos_token": TokenizerKind(_bos_and_eos_token, TOKENS + 2),
    "add_bos_token beside tokenizer.json": TokenizerKind(_bos_beside_tokenizer_json),
    "TemplateProcessing": TokenizerKind(_template),
    "a normalizer": TokenizerKind(_normalizer),
    "a normalizer that GPT2Tokenizer drops": TokenizerKind(_normalizer_of_gpt2),
    "a pre_tokenizer": TokenizerKind(_pre_tokenizer),
    "a pre_tokenizer in a Sequence": TokenizerKind(_sequence_of_one),
    "a vocab.json of another tokenizer": TokenizerKind(_another_vocabulary),
    "ignore_merges": TokenizerKind(_ignore_merges),
    "added_tokens_decoder": TokenizerKind(_added_tokens, TOKENS + 3),
    "added_tokens.json": TokenizerKind(_added_tokens_json, TOKENS + 2),
    "added tokens of tokenizer.json": TokenizerKind(_added_in_tokenizer_json, TOKENS + 2),
    "hundreds of added tokens": TokenizerKind(_hundreds_of_added_tokens, TOKENS + 601),
    "special tokens named without an id": TokenizerKind(_named_without_an_id, TOKENS + 64),
    "an embedding padded far past": TokenizerKind(_added_in_tokenizer_json, 51200),
    "WordPiece": TokenizerKind(_word_piece, 32),
    "Unigram": TokenizerKind(_unigram, 64),
    "Unigram with bytes": TokenizerKind(_unigram_with_bytes, 320),
}
