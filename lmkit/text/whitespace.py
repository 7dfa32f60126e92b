"""What separates words, the same for every tokenizer and every count.

Words are split at the characters with Unicode's White_Space property, as Rust and Hugging Face's ``WhitespaceSplit``
do. Python's ``str.split`` also splits at U+001C..U+001F, which are no whitespace in Unicode; texts that hold one of
them take a slower path.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "code_points",
    "count_starts",
    "count_words",
    "cut_at_space",
    "cut_before_space",
    "split_words",
    "white_space_table",
]

PYTHON_ONLY = "\x1c\x1d\x1e\x1f"
WORD = re.compile(r"[\S\x1c-\x1f]+")


def split_words(text: str) -> list[str]:
    """The maximal runs without whitespace, in order."""
    if any(character in text for character in PYTHON_ONLY):
        return WORD.findall(text)
    return text.split()


def code_points(text: str) -> NDArray[Any]:
    """The text's code points, (N,) uint32; a lone surrogate raises UnicodeEncodeError."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


@functools.cache
def white_space_table() -> NDArray[np.bool_]:
    """For each code point whether it separates words, (0x110000,)."""
    table = np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    spaces = [code for code in range(0x3001) if chr(code).isspace() and chr(code) not in PYTHON_ONLY]
    table[spaces] = True
    return table


def count_words(codes: NDArray[Any], *, inside_word: bool = False) -> tuple[int, bool]:
    """Words that begin in these code points, and whether a word is still open at their end.

    ``inside_word`` says that a word was open before them, so the words of a long text can be counted piece by piece.
    """
    return count_starts(white_space_table()[codes], inside_word=inside_word)


def count_starts(spaces: NDArray[np.bool_], *, inside_word: bool) -> tuple[int, bool]:
    """``count_words`` of characters, or of bytes, that are white space or not."""
    if spaces.size == 0:
        return 0, inside_word
    starts = int(np.count_nonzero(spaces[1:] < spaces[:-1]))
    if not spaces[0] and not inside_word:
        starts += 1
    return starts, not spaces[-1]


def cut_at_space(chunk: str) -> int:
    """The last position in the chunk that touches a space or line end, -1 if there is none: no word crosses it."""
    return max(chunk.rfind(" "), chunk.rfind("\n"))


def cut_before_space(chunk: str) -> int:
    """The last position between a character that is not whitespace and a space or line end, -1 if there is none."""
    end = len(chunk)
    while True:
        position = max(chunk.rfind(" ", 0, end), chunk.rfind("\n", 0, end))
        if position < 0:
            return -1
        start = len(chunk[:position].rstrip())
        if start == 0:
            return -1
        if chunk[start] in " \n":
            return start
        end = start
