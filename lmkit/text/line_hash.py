"""Hashes of lines: many at a time by eight bytes, long ones by their CRC."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["NONE", "Hashes", "OpenLine", "hash_lines"]

Index = NDArray[np.int64]
Hashes = NDArray[np.uint64]
NONE: Hashes = np.empty(0, dtype=np.uint64)

WORD = 8  # bytes that are taken at once
MOST_AT_ONCE = 32 * WORD  # bytes of a line that is hashed with others: few are longer
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit is lost: xxHash's
HALF = np.uint64(32)
MASKS = np.array([(1 << 8 * width) - 1 for width in range(WORD + 1)], dtype=np.uint64)
ALL_BITS = (1 << 64) - 1


def hash_lines(data: bytes, starts: Index, ends: Index) -> Hashes:
    """The hash of each of these stretches of some bytes, (L,): equal for equal ones, and for others once in about 2^64
    pairs, of long ones once in 2^32 pairs of one length.
    """
    lengths = ends - starts
    hashes = _by_words(data, starts, np.minimum(lengths, MOST_AT_ONCE))
    for line in np.flatnonzero(lengths > MOST_AT_ONCE).tolist():
        hashes[line] = _of_long(int(lengths[line]), zlib.crc32(data[starts[line] : ends[line]]))
    return hashes


class OpenLine:
    """A line that comes in parts, in constant memory: its first bytes, its length and its CRC."""

    def __init__(self) -> None:
        self._begin = b""
        self._bytes = self._crc = 0

    def extend(self, part: bytes) -> None:
        """Add what comes next."""
        self._begin += part[: MOST_AT_ONCE - len(self._begin)]
        self._bytes += len(part)
        self._crc = zlib.crc32(part, self._crc)

    def hash(self) -> Hashes:
        """That of the line so far, (1,)."""
        if self._bytes > MOST_AT_ONCE:
            return np.array([_of_long(self._bytes, self._crc)], dtype=np.uint64)
        return _by_words(self._begin, np.zeros(1, dtype=np.int64), np.array([self._bytes]))


def _of_long(size: int, crc: int) -> int:
    return (size << 32 | crc) & ALL_BITS


def _by_words(data: bytes, starts: Index, lengths: Index) -> Hashes:
    """A word of each line after the other, of the lines that are so long."""
    padded = data + bytes(WORD)
    words = np.ndarray(len(padded) - WORD + 1, dtype="<u8", buffer=padded, strides=(1,))
    hashes = lengths.astype(np.uint64) * MULTIPLIER
    all_have = max(0, int(lengths.min()) - 1) // WORD if len(lengths) else 0  # and each has a last one besides
    for number in range(all_have):
        hashes = _mixed(hashes, words[starts + WORD * number])
    left, starts, lengths = np.arange(len(lengths)), starts + WORD * all_have, lengths - WORD * all_have
    while len(left):
        hashes[left] = _mixed(hashes[left], words[starts] & MASKS.take(lengths, mode="clip"))
        (longer,) = np.nonzero(lengths > WORD)
        left, starts, lengths = left[longer], starts[longer] + WORD, lengths[longer] - WORD
    return hashes


def _mixed(hashes: Hashes, words: Hashes) -> Hashes:
    words ^= hashes
    words *= MULTIPLIER
    words ^= words >> HALF
    return words
