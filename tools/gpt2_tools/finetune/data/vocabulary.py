"""The tokenizer of a run: the checkpoint's own, or a byte-level BPE trained on the data."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2_recipe import FACTS, describe
from gpt2_text_prediction.text import END_OF_TEXT
from gpt2_tools.common.problem import Problem
from gpt2_tools.finetune.data.tokens import Encoder

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
OF_TRANSFORMERS = (CONFIG, "special_tokens_map.json", "added_tokens.json")
"""Files beside a tokenizer.json that transformers reads; the recipe has written what they say into that."""


@dataclass(frozen=True)
class Vocabulary:
    """The files of a tokenizer, by name, and the ids that end and begin a text."""

    files: dict[str, bytes]
    end: int | None
    begin: int | None

    def encoder(self, vocab_size: int | None = None) -> Encoder:
        """Return what encodes texts with it; vocab_size: the rows of the embedding, which may be padded."""
        tokenizer = self._tokenizer()
        tokenizer.no_truncation()
        tokenizer.no_padding()

        def encode(texts: Iterable[str]) -> list[list[int]]:
            encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in encodings]

        return Encoder(encode, self.end, vocab_size or tokenizer.get_vocab_size())

    def decode(self, tokens: list[int]) -> str:
        """Return the text of tokens."""
        return str(self._tokenizer().decode(tokens, skip_special_tokens=False))

    def sha256(self) -> str:
        """Return what identifies its files in run.json."""
        found = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            found.update(f"{name} {len(content)}\n".encode() + content)
        return found.hexdigest()

    def id_of(self, token: str) -> int | None:
        """Return the id of a token; None if there is none."""
        found = self._tokenizer().token_to_id(token)
        return None if found is None else int(found)

    def token_of(self, number: int) -> str | None:
        """Return the token of an id; None if there is none."""
        found = self._tokenizer().id_to_token(number)
        return None if found is None else str(found)

    def write(self, folder: Path) -> None:
        """Write its files into a folder."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer  # noqa: PLC0415

        return Tokenizer.from_str(self.files[TOKENIZER].decode())


def of_checkpoint(folder: Path) -> Vocabulary:
    """Return the tokenizer of a checkpoint. Raises Problem if it has none."""
    about = describe(folder, any_task=True)
    files = {
        file.name: file.read_bytes() if isinstance(file, Path) else file.content
        for file in about.companions
        if file.name != "generation_config.json"
    }
    if TOKENIZER not in files:
        raise Problem(about.notes[-1] if about.notes else f"{folder}: has no tokenizer; put its files into the folder")
    files |= {name: (folder / name).read_bytes() for name in OF_TRANSFORMERS if (folder / name).is_file()}
    facts = about.facts[FACTS]
    ends = [int(i) for i in str(facts.get("eos_token_ids", "")).split()]
    begin = facts.get("bos_token_id")
    return Vocabulary(files, ends[0] if ends else None, None if begin is None else int(begin))


def trained(texts: Iterable[str], size: int) -> Vocabulary:
    """Train a byte-level BPE of `size` tokens, of which the first is `<|endoftext|>`; a short text gives fewer."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers  # noqa: PLC0415
    from tokenizers.models import BPE  # noqa: PLC0415
    from tokenizers.trainers import BpeTrainer  # noqa: PLC0415

    tokenizer: Any = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    named = {"tokenizer_class": "GPT2Tokenizer", **dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)}
    files = {
        TOKENIZER: tokenizer.to_str(),
        "vocab.json": json.dumps(model["vocab"], ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        CONFIG: json.dumps(named),
    }
    return Vocabulary({name: content.encode() for name, content in files.items()}, 0, 0)


def read(folder: Path) -> Vocabulary:
    """Return a tokenizer that `trained` made and `Vocabulary.write` wrote."""
    names = (TOKENIZER, "vocab.json", "merges.txt", CONFIG)
    return Vocabulary({name: (folder / name).read_bytes() for name in names}, 0, 0)
