"""GPT-2's byte-level BPE: text to token ids, and token ids back to text, also as a stream."""

import codecs
import json
from operator import itemgetter
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE

from gpt2_text_prediction.problem import Problem, readable

END_OF_TEXT = "<|endoftext|>"
MOST_ADDED_TOKENS = 16
"""A vocabulary may have this many tokens that no merge makes, such as <|endoftext|>; more mean a cut file."""


class GPT2Tokenizer:
    """A vocabulary and its merges. `<|endoftext|>` in a text is plain text, unless `special` is given."""

    def __init__(self, vocab: Path, merges: Path) -> None:
        """Read vocab.json and merges.txt.

        Raises Problem for a file that cannot be read or is broken, and for files that do not fit each other.
        """
        ids = _read_vocab(vocab)
        self._tokenizer = Tokenizer(BPE(vocab=ids, merges=_read_merges(merges, ids)))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.vocab_size = len(ids)
        self.longest_token = max(map(len, ids))  # bytes
        self.end_of_text_id: int | None = self._tokenizer.token_to_id(END_OF_TEXT)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a text; special: `<|endoftext|>` in it is the token of that name.

        Raises Problem for a text that has no UTF-8 form (lone surrogates), and for a special token that the vocabulary
        lacks.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Problem(f"the text is not valid UTF-8 at character {error.start + 1}") from None
        if not special or END_OF_TEXT not in text:
            return list(self._tokenizer.encode(text).ids)
        if self.end_of_text_id is None:
            raise Problem(f"the vocabulary has no token {END_OF_TEXT}")
        first, *others = [list(self._tokenizer.encode(part).ids) for part in text.split(END_OF_TEXT)]
        return [*first, *(token for part in others for token in (self.end_of_text_id, *part))]

    def decode(self, tokens: list[int]) -> str:
        """Return the text of token ids; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, tokens)).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token, which may be part of a character.

        Raises Problem for an id that the vocabulary does not have.
        """
        if not 0 <= token < self.vocab_size:
            raise Problem(f"the vocabulary has no token of the id {token}; its ids end at {self.vocab_size - 1}")
        symbols = str(self._tokenizer.id_to_token(token))
        try:
            return bytes(BYTE_OF_SYMBOL[symbol] for symbol in symbols)
        except KeyError:  # a token added as plain text
            return symbols.encode()


def load_tokenizer(
    model: Path, vocab: str | Path | None = None, merges: str | Path | None = None, vocab_size: int | None = None
) -> GPT2Tokenizer:
    """Read the tokenizer of a model: the files given, else those beside it.

    vocab_size: the model's, None where it is not known yet.
    Raises Problem for a file that is missing or cannot be used, and for a vocabulary of another size.
    """
    tokenizer = GPT2Tokenizer(*find_tokenizer_files(model, vocab, merges))
    if vocab_size is not None and vocab_size != tokenizer.vocab_size:
        raise Problem(
            f"{model}: has {vocab_size} tokens, its tokenizer {tokenizer.vocab_size}; "
            "give the model's own files with --vocab and --merges"
        )
    return tokenizer


def find_tokenizer_files(
    model: Path, vocab: str | Path | None = None, merges: str | Path | None = None
) -> tuple[Path, Path]:
    """Return the paths of vocab.json and merges.txt: those given, else those beside the model.

    Raises Problem, naming the places, where one is in neither.
    """
    found = []
    for flag, given, name in (("--vocab", vocab, "vocab.json"), ("--merges", merges, "merges.txt")):
        path = model.parent / name if given is None else Path(given)
        with readable(path):
            is_there = path.is_file()
        if not is_there:
            where = "" if given is not None else f"; looked beside {model.name}: give it with {flag}"
            raise Problem(f"{path}: there is no such file; expected the model's {name}{where}")
        found.append(path)
    return found[0], found[1]


class IncrementalDetokenizer:
    """Token ids in, text out as soon as it is certain: a character split between tokens waits for its last byte."""

    def __init__(self, tokenizer: GPT2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the text that this token completes, possibly none."""
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    def close(self) -> str:
        """Return U+FFFD for a character that was never completed, else nothing."""
        return self._utf8.decode(b"", final=True)


def _read_vocab(path: Path) -> dict[str, int]:
    with readable(path):
        raw = path.read_bytes()
    try:
        ids = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(f"{path}: is not JSON: {error}; fetch it again") from None
    if not isinstance(ids, dict) or set(map(type, ids.values())) != {int}:
        raise Problem(f"{path}: expected a JSON object of tokens and their ids; fetch it again")
    if not BYTE_OF_SYMBOL.keys() <= ids.keys():
        raise Problem(f"{path}: expected a byte-level vocabulary with a token for each of the 256 bytes")
    if sorted(ids.values()) != list(range(len(ids))):
        raise Problem(f"{path}: expected the ids 0 .. {len(ids) - 1}, each once; fetch it again")
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        raise Problem(f"{path}: expected tokens of Unicode characters, got a lone surrogate; fetch it again") from None
    return ids


def _read_merges(path: Path, ids: dict[str, int]) -> list[tuple[str, str]]:
    """Read the pairs of tokens to merge, in their order; together they must make the vocabulary."""
    with readable(path):
        raw = path.read_bytes()
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError as error:
        raise Problem(f"{path}: expected UTF-8, got the byte 0x{raw[error.start]:02x}; fetch it again") from None
    pairs = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#version")]
    made = {left + right for left, right in pairs}
    if not made.union(map(itemgetter(0), pairs), map(itemgetter(1), pairs)) <= ids.keys():
        raise Problem(f"{path}: {_misfit(lines, ids)}; fetch both again")
    unmade = ids.keys() - made - BYTE_OF_SYMBOL.keys()
    if len(unmade) > max(MOST_ADDED_TOKENS, len(ids) // 100):
        raise Problem(f"{path}: does not fit vocab.json: does not make {len(unmade)} of its tokens; fetch both again")
    return pairs


def _misfit(lines: list[str], ids: dict[str, int]) -> str:
    """Return the first line that does not fit, for a message."""
    for count, line in enumerate(lines, 1):
        left, _, right = line.partition(" ")
        if line and not line.startswith("#version") and not {left, right, left + right} <= ids.keys():
            return f"line {count}: does not fit vocab.json: {line!r}"
    raise AssertionError("every line fits")


def _symbols() -> dict[str, int]:
    """Return the byte of each of the 256 symbols in which GPT-2's vocabulary is written.

    Bytes that print stand for themselves, the others for the characters from U+0100 on, in order
    (openai/gpt-2: encoder.py, bytes_to_unicode).
    """
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF_SYMBOL = _symbols()
