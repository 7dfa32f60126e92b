"""Words looked up many at a time: a hash table in arrays, over the bytes of a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["WordTable", "Words", "find_words"]

LONGEST = 15  # bytes of a word that two numbers hold, its length in the last byte
PADDING = bytes(2 * 8)
MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)  # odd: xxHash's
SPACE, FIRST_CONTROL, CONTROLS, LINE_END = 0x20, 0x09, 5, 0x0A  # white space of one byte: a space, and \t to \r

Numbers = NDArray[np.uint64]
Index = NDArray[np.int64]


class Words(NamedTuple):
    """Where the N words of some bytes begin and end, and whether one is a line end, which is a word here."""

    data: bytes
    starts: Index
    ends: Index
    is_line_end: NDArray[np.bool_]

    def one(self, index: int) -> bytes:
        """A word."""
        return self.data[self.starts[index] : self.ends[index]]


def find_words(data: bytes) -> Words:
    """The words of UTF-8 without white space of several bytes, and its line ends."""
    codes = np.frombuffer(data + PADDING, dtype=np.uint8)[: len(data) + 1].copy()
    codes[-1] = SPACE
    space = (codes == SPACE) | (codes - np.uint8(FIRST_CONTROL) < CONTROLS)
    line_end = codes == LINE_END
    begins, finishes = ~space, ~space
    begins[1:] &= space[:-1]
    finishes[:-1] &= space[1:]
    starts, ends = (np.flatnonzero(mask | line_end) for mask in (begins, finishes))
    return Words(data, starts, ends + 1, line_end[starts])


class WordTable:
    """Words of up to LONGEST bytes and their numbers, with open addressing; others are not in it.

    A word is two integers of 64 bits: its bytes, and its length. So equal keys are equal words.
    """

    def __init__(self) -> None:
        self._size = 0
        self._allocate(1 << 10)

    def _allocate(self, slots: int) -> None:
        self._shift = np.uint64(64 - slots.bit_length() + 1)
        self._first, self._second = np.zeros((2, slots), dtype=np.uint64)  # no word has a second number of 0
        self._numbers = np.zeros(slots, dtype=np.int64)

    def find(self, words: Words) -> Index:
        """The number of each word, -1 where it is not in the table."""
        first, second = _keys(words.data, words.starts, words.ends - words.starts)
        slots = self._slots(first, second)
        found, left = self._look(first, second, slots)
        while len(left):  # another word is there
            slots[left] = self._next(slots[left])
            numbers, again = self._look(first[left], second[left], slots[left])
            found[left] = numbers
            left = left[again]
        return found

    def _look(self, first: Numbers, second: Numbers, slots: Index) -> tuple[Index, Index]:
        """What is in the slots of these words: their numbers or -1, and which of the words met others."""
        there = self._second.take(slots)
        hit = (there == second) & (self._first.take(slots) == first)
        return np.where(hit, self._numbers.take(slots), -1), np.flatnonzero(~hit & (there != 0))

    def add(self, words: Sequence[bytes], numbers: Iterable[int]) -> None:
        """Put in words that are not in the table yet."""
        short = [(word, number) for word, number in zip(words, numbers, strict=True) if len(word) <= LONGEST]
        if not short:
            return
        lengths = np.array([len(word) for word, _ in short], dtype=np.int64)
        first, second = _keys(b"".join(word for word, _ in short), np.cumsum(lengths) - lengths, lengths)
        self._size += len(short)
        if 3 * self._size > len(self._numbers):
            self._grow()
        self._put(first, second, np.array([number for _, number in short], dtype=np.int64))

    def _grow(self) -> None:
        used = self._second != 0
        first, second, numbers = self._first[used], self._second[used], self._numbers[used]
        self._allocate(1 << (4 * self._size).bit_length())
        self._put(first, second, numbers)

    def _put(self, first: Numbers, second: Numbers, numbers: Index) -> None:
        slots = self._slots(first, second)
        left = np.arange(len(slots))
        while len(left):
            at = slots[left]
            free = left[self._second[at] == 0]
            self._numbers[slots[free]] = free  # of several for one slot one stays
            stays = free[self._numbers[slots[free]] == free]
            self._first[slots[stays]], self._second[slots[stays]] = first[stays], second[stays]
            self._numbers[slots[stays]] = numbers[stays]
            left = np.setdiff1d(left, stays, assume_unique=True)
            slots[left] = self._next(slots[left])

    def _slots(self, first: Numbers, second: Numbers) -> Index:
        mixed = first * MULTIPLIERS[0] ^ second * MULTIPLIERS[1]
        mixed ^= mixed >> np.uint64(32)
        return (mixed * MULTIPLIERS[0] >> self._shift).astype(np.int64)

    def _next(self, slots: Index) -> Index:
        return (slots + 1) & (len(self._numbers) - 1)


def _keys(data: bytes, starts: Index, lengths: Index) -> tuple[Numbers, Numbers]:
    """The words as two numbers each; those that are too long have some that no word of the table has."""
    padded = data + PADDING
    at = np.ndarray(len(padded) - 7, dtype="<u8", buffer=padded, strides=(1,))
    masks = np.array([(1 << 8 * width) - 1 for width in range(9)], dtype=np.uint64)
    first = at[starts] & masks.take(lengths, mode="clip")
    second = at[starts + 8] & masks.take(lengths - 8, mode="clip")
    return first, second | np.minimum(lengths, LONGEST + 1).astype(np.uint64) << np.uint64(56)
