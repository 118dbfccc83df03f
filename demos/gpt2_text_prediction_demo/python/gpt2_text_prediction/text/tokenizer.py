"""Text to token ids and back, also as a stream: GPT-2's byte-level BPE, or whatever a tokenizer.json describes."""

import codecs
import re
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from gpt2_text_prediction.problem import Problem, readable
from gpt2_text_prediction.text.byte_level import BYTE_OF_SYMBOL, read_merges, read_vocab

END_OF_TEXT = "<|endoftext|>"
TOKENIZER = "tokenizer.json"
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
"""A token of one byte, in the vocabularies of SentencePiece."""
READ_AT_MOST = 1 << 17
"""Characters of a text whose tokens are counted, where only its start is wanted: BPE of more would take minutes."""
STAND_IN = "\U0010ffff" * 16
"""Characters of no text: they keep the id of an added token that is not to be parsed."""


class TextStart(NamedTuple):
    """The first tokens of a text, and how many characters of its end they leave out."""

    tokens: list[int]
    truncated_chars: int


class GPT2Tokenizer:
    """A model's tokenizer. `<|endoftext|>` in a text is plain text, unless `special` is given.

    vocab_size: the number of its tokens; base_size: without added ones. is_byte_level: whether each token is a run of
    bytes, as GPT-2's are.
    """

    def __init__(self, vocab: Path, merges: Path) -> None:
        """Read the vocab.json and merges.txt of a byte-level BPE.

        Raises Problem for a file that cannot be read or is broken, and for files that do not fit each other.
        """
        ids = read_vocab(vocab)
        tokenizer = Tokenizer(BPE(vocab=ids, merges=read_merges(merges, ids)))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        self._use(tokenizer, is_whole=False)

    @classmethod
    def from_file(cls, path: Path) -> "GPT2Tokenizer":
        """Read a tokenizer.json of any kind. Raises Problem for a file that cannot be read or is broken."""
        with readable(path):
            content = path.read_bytes()
        read = cls.__new__(cls)
        try:
            read._use(Tokenizer.from_str(content.decode()), is_whole=True)
        except UnicodeDecodeError as error:
            raise Problem(
                f"{path}: expected UTF-8, got the byte 0x{content[error.start]:02x}; convert the model again"
            ) from None
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of the library's Rust
                raise
            reason = " ".join(str(error).split())
            raise Problem(f"{path}: is no tokenizer that can be used: {reason}; convert the model again") from None
        return read

    def _use(self, tokenizer: Tokenizer, *, is_whole: bool) -> None:
        self._is_whole = is_whole  # with added tokens
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.added_tokens: dict[int, AddedToken] = tokenizer.get_added_tokens_decoder()
        self._parsing: dict[tuple[bool, str], Tokenizer] = {}
        self._token_bytes: dict[int, bytes] = {}  # of the tokens that were asked for
        self._rows: int | None = None
        self.vocab_size: int = tokenizer.get_vocab_size()
        self.base_size: int = tokenizer.get_vocab_size(with_added_tokens=False)
        self.end_of_text_id: int | None = tokenizer.token_to_id(END_OF_TEXT)
        self.is_byte_level = type(tokenizer.decoder).__name__ == "ByteLevel"

    @cached_property
    def longest_token(self) -> int:
        """The bytes of the longest token."""
        tokens = self._tokenizer.get_vocab()
        return max(map(len, tokens if self.is_byte_level else map(str.encode, tokens)))

    @cached_property
    def splits_at_words(self) -> bool:
        """Whether a text may be encoded in pieces, cut before the space of a word, without a change of its tokens."""
        split = self._tokenizer.pre_tokenizer
        return (
            self.is_byte_level
            and self._tokenizer.normalizer is None
            and type(split).__name__ == "ByteLevel"
            and not split.add_prefix_space
            and all(not (token.lstrip or token.rstrip or " " in token.content) for token in self.added_tokens.values())
            and not self._tokenizer.encode("").ids
        )

    def fits(self, rows: int) -> bool:
        """Return whether it may be the tokenizer of a model of so many rows, which may be more than it has tokens.

        Of a vocab.json the size is all that tells. Embeddings are padded to a multiple of 8 or more (Megatron, nanoGPT,
        transformers' pad_to_multiple_of). In a tokenizer.json added tokens may lack a row, which no text then has.
        """
        tokens = self.vocab_size
        if self._is_whole:
            return self.base_size <= rows
        return tokens == rows or (tokens < rows < 2 * tokens and rows % 8 == 0)

    def limit(self, rows: int) -> None:
        """Refuse texts with a token that a model of so many rows lacks, from now on."""
        self._rows = rows

    def unused_ids(self, rows: int) -> list[int]:
        """Return the ids below `rows` that are no token: those of a padded embedding."""
        token_of = self._tokenizer.id_to_token
        if rows == self.vocab_size and token_of(rows - 1) is not None and token_of(rows) is None:
            return []
        return [i for i in range(rows) if token_of(i) is None]

    def encode(
        self,
        text: str,
        special: bool = False,
        *,
        added_tokens: Literal["parse", "text"] = "parse",
        template: bool = False,
    ) -> list[int]:
        """Return the token ids of a text; special: `<|endoftext|>` in it is the token of that name.

        added_tokens: whether other added tokens in it, such as <|user|>, are those tokens or plain text. template:
        with the tokens that the tokenizer puts before or after a whole text.
        Raises Problem for a text that has no UTF-8 form (lone surrogates), for a special token that the vocabulary
        lacks, and for a token that the model lacks.
        """
        _require_utf8(text)
        if special and END_OF_TEXT in text and self.end_of_text_id is None:
            raise Problem(f"the vocabulary has no token {END_OF_TEXT}")
        tokenizer = self._that_parses(special, added_tokens, text)
        ids: list[int] = tokenizer.encode(text, add_special_tokens=template).ids
        self._require_rows(ids)
        return ids

    def encode_starts(self, texts: Sequence[str], most: int) -> list[TextStart]:
        """Return the first `most` tokens of each text, with those that the tokenizer puts around a whole one.

        Special tokens in a text are plain text. Texts are encoded on all processors. Raises Problem as encode does.
        """
        for text in texts:
            _require_utf8(text)
        starts: dict[int, TextStart] = {}
        by_tokenizer: dict[int, list[int]] = {}
        tokenizers = [self._that_parses(False, "parse", text) for text in texts]
        for i, tokenizer in enumerate(tokenizers):
            by_tokenizer.setdefault(id(tokenizer), []).append(i)
        most_chars = max(most * self.longest_token, READ_AT_MOST)
        for group in by_tokenizer.values():
            tokenizer = tokenizers[group[0]]
            room = max(0, most - tokenizer.num_special_tokens_to_add(False))
            encoded = tokenizer.encode_batch([texts[i][:most_chars] for i in group], add_special_tokens=False)
            for i, encoding in zip(group, encoded, strict=True):
                end = len(texts[i])
                if len(encoding) > room:
                    encoding.truncate(room)
                    end = encoding.offsets[-1][1] if room else 0
                ids = tokenizer.post_process(encoding).ids if len(encoding) else []
                self._require_rows(ids)
                starts[i] = TextStart(ids, len(texts[i]) - end)
        return [starts[i] for i in range(len(texts))]

    def _require_rows(self, ids: Sequence[int]) -> None:
        """Raise Problem for a token that the model lacks."""
        if self._rows is not None and ids and max(ids) >= self._rows:
            token = self._tokenizer.id_to_token(max(ids))
            raise Problem(
                f"the text has the token {token!r}, whose id {max(ids)} the model of {self._rows} tokens lacks"
            )

    def _that_parses(self, special: bool, added_tokens: str, text: str) -> Tokenizer:
        """Return the tokenizer that parses the tokens asked for; each is made at its first use, with the same model."""
        main, names = self._tokenizer, {token.content for token in self.added_tokens.values()}
        named = END_OF_TEXT in text or main.normalizer is not None
        if added_tokens == "parse" and (not named or special == (END_OF_TEXT in names)):
            return main
        if not names and not (special and named):
            return main
        if (special, added_tokens) not in self._parsing:
            wanted = names if added_tokens == "parse" else set()
            wanted = wanted | {END_OF_TEXT} if special else wanted - {END_OF_TEXT}
            self._parsing[special, added_tokens] = self._with_added(wanted)
        return self._parsing[special, added_tokens]

    def _with_added(self, wanted: set[str]) -> Tokenizer:
        main, added = self._tokenizer, dict(self.added_tokens)
        if self.end_of_text_id is not None:
            added.setdefault(self.end_of_text_id, AddedToken(END_OF_TEXT, special=True, normalized=False))
        other = Tokenizer(main.model)
        for part in ("normalizer", "pre_tokenizer", "post_processor"):
            if (value := getattr(main, part)) is not None:
                setattr(other, part, value)
        for _, token in sorted(added.items()):
            if token.content in wanted:
                other.add_tokens([token])
            elif main.model.token_to_id(token.content) is None:  # else the ids after it would move up
                other.add_tokens([AddedToken(STAND_IN + str(len(other.get_added_tokens_decoder())), normalized=False)])
        return other

    def decode(self, tokens: list[int]) -> str:
        """Return the text of token ids; bytes that are not UTF-8 become U+FFFD.

        Raises Problem for an id that the vocabulary does not have.
        """
        if self.is_byte_level:
            return b"".join(map(self.token_bytes, tokens)).decode(errors="replace")
        for token in tokens:
            self.token(token)
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))

    def token(self, token_id: int) -> str:
        """Return a token as the vocabulary writes it. Raises Problem for an id that it does not have."""
        token = self._tokenizer.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        if token is None:
            raise Problem(f"the vocabulary of {self.vocab_size} tokens has no token of the id {token_id}")
        return str(token)

    def bytes_of(self, token_id: int) -> bytes:
        """Return the bytes of a token; of a tokenizer that is not byte-level, of the token as the vocabulary writes it.

        There a token of one byte is that byte. Raises Problem for an id that the vocabulary does not have.
        """
        if self.is_byte_level:
            return self.token_bytes(token_id)
        symbols = self.token(token_id)
        return bytes([int(symbols[1:-1], 16)]) if BYTE_TOKEN.fullmatch(symbols) else symbols.encode()

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of a token of a byte-level tokenizer, which may be part of a character.

        Raises Problem for an id that the vocabulary does not have.
        """
        found = self._token_bytes.get(token_id)
        if found is None:
            symbols = self.token(token_id)
            try:
                found = bytes(BYTE_OF_SYMBOL[symbol] for symbol in symbols)
            except KeyError:  # a token added as plain text
                found = symbols.encode()
            self._token_bytes[token_id] = found
        return found


def _require_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Problem(f"the text is not valid UTF-8 at character {error.start + 1}") from None


def load_tokenizer(
    model: Path,
    vocab: str | Path | None = None,
    merges: str | Path | None = None,
    vocab_size: int | None = None,
    *,
    remedy: str = "give the model's own files as vocab and merges",
) -> GPT2Tokenizer:
    """Read the tokenizer of a model: the files given, else tokenizer.json beside it, else vocab.json and merges.txt.

    vocab_size: the model's, None where it is not known yet. It may be larger than the tokenizer's, whose texts then
    never have the other ids.
    remedy: what the line about a tokenizer of another model tells the user to do.
    Raises Problem for a file that is missing or cannot be used, and for a tokenizer of another model.
    """
    path, *others = tokenizer_files(model, vocab, merges)
    tokenizer = GPT2Tokenizer(path, *others) if others else GPT2Tokenizer.from_file(path)
    if vocab_size is None:
        return tokenizer
    if not tokenizer.fits(vocab_size):
        raise Problem(f"{model}: has {vocab_size} tokens, its tokenizer {tokenizer.vocab_size}; {remedy}")
    tokenizer.limit(vocab_size)
    return tokenizer


def tokenizer_files(model: Path, vocab: str | Path | None = None, merges: str | Path | None = None) -> tuple[Path, ...]:
    """Return the path of the tokenizer.json beside a model, or where it is not used those of vocab.json and merges.txt.

    Raises Problem, naming the places, where there is no such file.
    """
    path = model.parent / TOKENIZER
    with readable(path):
        is_own = vocab is None and merges is None and path.is_file()
    return (path,) if is_own else find_tokenizer_files(model, vocab, merges)


def find_tokenizer_files(
    model: Path, vocab: str | Path | None = None, merges: str | Path | None = None
) -> tuple[Path, Path]:
    """Return the paths of vocab.json and merges.txt: those given, else those beside the model.

    Raises Problem, naming the places, where one is in neither.
    """
    found = []
    for parameter, given, name in (("vocab", vocab, "vocab.json"), ("merges", merges, "merges.txt")):
        path = model.parent / name if given is None else Path(given)
        with readable(path):
            is_there = path.is_file()
        if not is_there:
            where = "" if given is not None else f"; looked beside {model.name}: give it as {parameter}"
            raise Problem(f"{path}: there is no such file; expected the model's {name}{where}")
        found.append(path)
    return found[0], found[1]


class IncrementalDetokenizer:
    """Token ids in, text out as soon as it is certain: a character split between tokens waits for its last byte."""

    def __init__(self, tokenizer: GPT2Tokenizer) -> None:
        self._pieces: _Pieces = _Utf8Pieces(tokenizer) if tokenizer.is_byte_level else _WindowPieces(tokenizer)

    def push(self, token: int) -> str:
        """Return the text that this token completes, possibly none."""
        return self._pieces.push(token)

    def close(self) -> str:
        """Return U+FFFD for a character that was never completed, else nothing."""
        return self._pieces.close()

    def fork(self) -> "IncrementalDetokenizer":
        """Return a second one that goes on from here."""
        forked = copy(self)
        forked._pieces = self._pieces.fork()
        return forked


class _Pieces(Protocol):
    def push(self, token: int) -> str: ...

    def close(self) -> str: ...

    def fork(self) -> "_Pieces": ...


class _Utf8Pieces:
    """Of a byte-level tokenizer: its tokens' bytes one after another are the text."""

    def __init__(self, tokenizer: GPT2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    def close(self) -> str:
        return self._utf8.decode(b"", final=True)

    def fork(self) -> "_Utf8Pieces":
        forked = _Utf8Pieces(self._tokenizer)
        forked._utf8.setstate(self._utf8.getstate())
        return forked


class _WindowPieces:
    """Of any other tokenizer: the text of the last tokens, from one on that nothing before it changes."""

    def __init__(self, tokenizer: GPT2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text that were returned
        self._bytes = 0  # tokens at the end that are single bytes: whether they are a character, the next one tells

    def push(self, token: int) -> str:
        self._window.append(token)
        if BYTE_TOKEN.fullmatch(self._tokenizer.token(token)):
            self._bytes += 1
            return ""
        self._bytes = 0
        text = self._tokenizer.decode(self._window)
        piece = self._grown(text.rstrip("\ufffd"))
        last = self._tokenizer.decode([token])
        if last and self._shown == len(text):  # a token without a text of its own may hide the next one's space
            self._window, self._shown = [token], len(last)
        return piece

    def close(self) -> str:
        return self._grown(self._tokenizer.decode(self._window))

    def fork(self) -> "_WindowPieces":
        forked = copy(self)
        forked._window = list(self._window)
        return forked

    def _grown(self, text: str) -> str:
        piece, self._shown = text[self._shown :], max(self._shown, len(text))
        return piece
