"""Check that a vocabulary and its merges are a byte-level BPE as GPT-2's; errors name the checkpoint's own files.

The checks are those of the demo's tokenizer, which may not be imported here.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from gpt2_recipe.plain_file import require_plain_file
from gpt2_recipe.problem import Problem, one_line

MAX_UNREACHABLE = 16
"""A vocabulary may have this many tokens that no merge makes of two others; many more mean a truncated file."""


class NotByteLevel(Exception):
    """The tokenizer is not broken, but cannot be written as GPT-2's vocab.json and merges.txt."""


def check_vocabulary(path: Path, ids: Mapping[str, int]) -> None:
    """Raise Problem for a broken vocabulary, NotByteLevel for one of another kind."""
    twice = [i for i, count in Counter(ids.values()).items() if count > 1]
    if twice:
        names = [token for token, i in ids.items() if i == twice[0]]
        raise Problem(
            f"{path}: expected each id once, got {twice[0]} for {one_line(ascii(names[0]))} and for "
            f"{one_line(ascii(names[1]))}; fetch it again"
        )
    if any("\ud800" <= symbol <= "\udfff" for symbol in "".join(ids)):
        raise Problem(f"{path}: expected tokens of Unicode characters, got a lone surrogate; fetch it again")
    missing = BYTE_SYMBOLS - ids.keys()
    if missing:
        raise NotByteLevel(
            f"{path}: expected a byte-level vocabulary with a token for each of the 256 bytes, "
            f"got one without {len(missing)} of them"
        )


def read_merges(path: Path) -> dict[str, tuple[str, str]]:
    """Return the pairs of a merges.txt by their line; Problem if it is not UTF-8."""
    require_plain_file(path)
    raw = path.read_bytes()
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError as error:
        raise Problem(f"{path}: expected UTF-8, got the byte 0x{raw[error.start]:02x}; fetch it again") from None
    found = {}
    for count, line in enumerate(lines, 1):
        if line and not line.startswith("#version"):
            left, _, right = line.partition(" ")
            found[f"line {count}"] = (left, right)
    return found


def check_merges(
    path: Path, merges: Mapping[str, tuple[str, str]], ids: Mapping[str, int], ignore_merges: bool = False
) -> None:
    """Raise Problem unless these pairs, each named by its position, make the tokens of the vocabulary.

    ignore_merges: a token that is a whole word needs none.
    """
    for position, (left, right) in merges.items():
        if not {left, right, left + right} <= ids.keys():
            pair = one_line(ascii(f"{left} {right}"))
            raise Problem(f"{path}: {position}: does not fit the vocabulary: {pair}; fetch both again")
    count = 0 if ignore_merges else len(unreachable_tokens(merges.values(), ids.keys()))
    if count > max_unreachable(len(ids)):
        raise Problem(f"{path}: does not fit the vocabulary: does not make {count} of its tokens; fetch both again")


def unreachable_tokens(merges: Iterable[tuple[str, str]], tokens: Collection[str]) -> set[str]:
    """Return the tokens that no merge makes, although they are two others put together.

    Added tokens such as <|endoftext|> hardly ever are: a vocabulary may have any number of them.
    """
    unmade = set(tokens) - {left + right for left, right in merges} - BYTE_SYMBOLS
    return {token for token in unmade if any(token[:i] in tokens and token[i:] in tokens for i in range(1, len(token)))}


def max_unreachable(count: int) -> int:
    """Return how many such tokens the demo accepts in a vocabulary of `count`."""
    return max(MAX_UNREACHABLE, count // 100)


def _byte_symbols() -> frozenset[str]:
    """Return the symbols of the 256 bytes: those that print stand for themselves, the others for U+0100 on."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return frozenset(map(chr, [*printing, *range(256, 512 - len(printing))]))


BYTE_SYMBOLS = _byte_symbols()
