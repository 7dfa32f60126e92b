"""Chunk: a stretch of text as UTF-8, and what its bytes tell without a string being made of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import DataError
from lmkit.text.whitespace import code_points, count_starts, white_space_table

__all__ = ["Chunk"]

DENSE = 8  # with one byte in so many beyond ASCII a text is decoded as a whole
BYTE_SPACES = 5  # tab, line feed, vertical tab, form feed and carriage return, one after the other


class Chunk:
    """Whole characters of a text: ``data`` is their UTF-8. All else is made from it when it is first asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def of(cls, text: str) -> Chunk:
        """A string as a chunk. Raises DataError for a lone surrogate."""
        try:
            chunk = cls(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise DataError(f"The text holds a lone surrogate ({error}): clean it first.") from error
        chunk.text = text
        return chunk

    @cached_property
    def text(self) -> str:
        """The characters as a string."""
        return self.data.decode("utf-8")

    @cached_property
    def bytes(self) -> NDArray[np.uint8]:
        """The bytes as numbers, (N,)."""
        return np.frombuffer(self.data, dtype=np.uint8)

    @cached_property
    def wide(self) -> NDArray[np.int64]:
        """Where the bytes are that are not ASCII."""
        return np.flatnonzero(self.bytes >= 0x80) if not self.data.isascii() else np.empty(0, dtype=np.int64)

    @cached_property
    def rare(self) -> NDArray[Any]:
        """The code points of the characters that are not ASCII, in order, (R,) uint32. Raises UnicodeDecodeError where
        the data is not UTF-8, be it only one byte.
        """
        wide = self.wide
        if not len(wide):
            return np.empty(0, dtype=np.uint32)
        if len(wide) * DENSE > len(self.data):
            codes = code_points(self.text)
            return codes[codes >= 0x80]
        # a space after each run: what does not belong together is not read together
        (ends,) = np.nonzero(np.diff(wide) != 1)
        runs = np.insert(self.bytes[wide], ends + 1, ord(" ")).tobytes()
        return code_points(runs.decode("utf-8").replace(" ", ""))

    @property
    def chars(self) -> int:
        """The number of characters."""
        return len(self.data) - len(self.wide) + len(self.rare)

    @cached_property
    def line_ends(self) -> int:
        r"""The number of ``\n``."""
        return int(np.count_nonzero(self.bytes == ord("\n")))

    def count_words(self, *, inside_word: bool) -> tuple[int, bool]:
        """Words that begin here, and whether one is open at the end; ``inside_word``: one was open before."""
        if white_space_table()[self.rare].any():
            spaces = white_space_table()[code_points(self.text)]
        else:
            spaces = (self.bytes == ord(" ")) | (self.bytes - np.uint8(ord("\t")) < BYTE_SPACES)
        return count_starts(spaces, inside_word=inside_word)

    def part(self, begin: int, end: int | None) -> Chunk:
        """The characters begin..end."""
        if begin == 0 and (end is None or end >= self.chars):
            return self
        if self.data.isascii():
            return Chunk(self.data[begin:end])
        starts = np.flatnonzero((self.bytes & 0xC0) != 0x80)
        first, last = (len(self.data) if at is None or at >= len(starts) else int(starts[at]) for at in (begin, end))
        return Chunk(self.data[first:last])
