"""CRC-32C (Castagnoli) of large arrays, in numpy; and the masked form of it that LevelDB and TensorFlow store.

Without its initial and final complement a CRC is linear over GF(2), so that a message can be folded, row by row,
into a short one of the same CRC.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

POLYNOMIAL = 0x82F63B78  # reflected
ROW_WORDS = (1 << 16, 1 << 8, 1)
"""Widths, in words, to fold the message to: rows that fit the CPU cache, then shorter ones, then one word."""


def crc32c(data: npt.NDArray[np.uint8]) -> int:  # [bytes]
    """Return the CRC-32C of the bytes."""
    if data.size < 4:
        return _of_few_bytes(data.tobytes())
    front = -data.size % 4  # zeros in front of a message do not change its linear CRC
    words = np.zeros((data.size + front) // 4, "<u4")
    bytes_ = words.view(np.uint8)
    bytes_[front:] = data
    bytes_[front : front + 4] ^= 0xFF
    for width in ROW_WORDS:
        words = _fold(words, width)
    return int(_advance(words, 4)[0]) ^ 0xFFFFFFFF


def masked_crc32c(data: npt.NDArray[np.uint8]) -> int:  # [bytes]
    """Return the CRC as it is stored beside its data."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _fold(words: Words, width: int) -> Words:  # [n] -> [width], or [n] where that is less
    """Return a shorter message of the same linear CRC: each row is advanced by its width and added to the next."""
    if len(words) <= width:
        return words
    head = len(words) % width or width
    row = np.zeros(width, np.uint32)
    row[width - head :] = words[:head]
    for start in range(head, len(words), width):
        row = _advance(row, 4 * width) ^ words[start : start + width]
    return row


def _advance(states: Words, count: int) -> Words:  # [n] -> [n]
    """Return the linear CRC states after `count` further zero bytes."""
    low, high = _tables(count)
    halves = states.astype("<u4", copy=False).view("<u2")
    advanced: Words = low[halves[0::2]] ^ high[halves[1::2]]
    return advanced


@cache
def _tables(count: int) -> tuple[Words, Words]:  # [2^16] each
    """Return the states that `count` zero bytes turn each low half and each high half of a state into."""
    bits: Words = np.array([1 << bit for bit in range(32)], np.uint32)
    power: Words = (bits >> np.uint32(1)) ^ np.where(bits & 1, np.uint32(POLYNOMIAL), np.uint32(0))  # one zero bit
    columns = bits  # the identity
    for exponent in range((8 * count).bit_length()):
        if 8 * count >> exponent & 1:
            columns = _apply(power, columns)
        power = _apply(power, power)
    return _every_sum(columns[:16]), _every_sum(columns[16:])


def _apply(matrix: Words, states: Words) -> Words:  # [32], [n] -> [n]
    """Return matrix times each state over GF(2); column i of the matrix is the image of bit i."""
    chosen = np.where(states[:, None] >> np.arange(32, dtype=np.uint32) & 1, matrix, np.uint32(0))
    sums: Words = np.bitwise_xor.reduce(chosen, axis=1)
    return sums


def _every_sum(columns: Words) -> Words:  # [k] -> [2^k]
    sums = np.zeros(1, np.uint32)
    for column in columns:
        sums = np.concatenate([sums, sums ^ column])
    return sums


def _of_few_bytes(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
