"""Read and check the vocab.json and merges.txt of a byte-level BPE such as GPT-2's."""

import json
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

from gpt2_text_prediction.problem import Problem, readable

MOST_UNMADE_TOKENS = 16
"""A vocabulary may have this many tokens that are two others put together, but no merge's; more mean a cut file."""


def read_vocab(path: Path) -> dict[str, int]:
    """Read a vocab.json: a token for each byte, and ids without a gap. Raises Problem for any other."""
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


def read_merges(path: Path, ids: dict[str, int]) -> list[tuple[str, str]]:
    """Read the pairs of tokens to merge, in their order; together they must make the vocabulary.

    Raises Problem for a file that is broken or of another vocabulary.
    """
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
    # Added tokens such as <|endoftext|> are hardly ever two others put together: there may be any number of them.
    unmade = [token for token in ids.keys() - made - BYTE_OF_SYMBOL.keys() if _is_two_of(ids, token)]
    if len(unmade) > max(MOST_UNMADE_TOKENS, len(ids) // 100):
        raise Problem(f"{path}: does not fit vocab.json: does not make {len(unmade)} of its tokens; fetch both again")
    return pairs


def _is_two_of(ids: Mapping[str, int], token: str) -> bool:
    return any(token[:i] in ids and token[i:] in ids for i in range(1, len(token)))


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
