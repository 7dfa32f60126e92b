"""Where a text can be cut so that GPT-2's pre-tokens (Radford et al. 2019) stay what they are.

Their pattern is

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

Letters, numbers and other characters never share a pre-token but for an apostrophe before letters, and a space may go
with what follows it. So a pre-token surely ends before white space, between a letter and a number, and between either
of them and another character, unless that is an apostrophe with a letter after it, whatever stands further left or
right.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
from numpy.typing import NDArray

from lmkit.text.whitespace import cut_before_space, white_space_table

__all__ = ["cut_between_pretokens", "cut_inside_run"]

UNSURE, SPACE, LETTER, NUMBER, OTHER = range(5)
APOSTROPHE = ord("'")
NEAR = 1 << 12  # characters at the end of a chunk, where a cut is looked for first
# CUTS[a, b]: between a character of class a and one of class b; the apostrophe before a letter is taken out later
CUTS = np.zeros((5, 5), dtype=np.bool_)
CUTS[[LETTER, NUMBER, OTHER], SPACE] = True
CUTS[[LETTER, LETTER, NUMBER, NUMBER, OTHER, OTHER], [NUMBER, OTHER, LETTER, OTHER, LETTER, NUMBER]] = True

Codes = NDArray[np.uint32]


def cut_between_pretokens(chunk: str) -> int:
    """A position in a chunk of text, as late as is easily found, where one pre-token ends and the next begins in any
    text that holds the chunk; -1 if none is sure.

    A run of letters, of numbers, of other characters or of white space has no such position, nor have characters whose
    class changed since Unicode 3.2, which two programs may see differently.
    """
    position = cut_before_space(chunk)
    if position >= 0:
        return position
    for begin in (max(0, len(chunk) - NEAR), 0):
        codes = _codes(chunk[begin:])
        classes = _classes()[codes]
        cuts = CUTS[classes[:-1], classes[1:]] & ((codes[:-1] != APOSTROPHE) | (classes[1:] != LETTER))
        (found,) = np.nonzero(cuts)
        if len(found):
            return begin + int(found[-1]) + 1
    return -1


def cut_inside_run(text: str, length: int) -> int:
    """The last position in a text where its one long pre-token is cut in pieces of ``length`` bytes, -1 without one.

    The text must begin with a pre-token, or at such a cut in one. It is taken for one pre-token where all of it is of
    one class, a space before it apart. In characters of several bytes the positions are those where a character and a
    piece end together: after a space, letters of two bytes each have none.
    """
    codes = _codes(text)
    classes = _classes()[codes]
    run = classes[1:]
    if len(run) < 2 or run[0] == UNSURE or (run != run[0]).any():
        return -1
    if classes[0] != run[0] and codes[0] != ord(" "):
        return -1
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    # the last character stays: an apostrophe alone before a cut's letters would be read with them
    (positions,) = np.nonzero(np.cumsum(widths[:-2]) % length == 0)
    return int(positions[-1]) + 1 if len(positions) else -1


def _codes(text: str) -> Codes:
    """Code points (N,), lone surrogates among them: the encoder will find them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


@functools.cache
def _classes() -> NDArray[np.uint8]:
    """The class of each code point, (0x110000,): UNSURE outside the first plane and where it is not an old one."""
    classes = np.zeros(len(white_space_table()), dtype=np.uint8)
    for code in range(0x10000):
        now, then = (_class(base.category(chr(code))) for base in (unicodedata, unicodedata.ucd_3_2_0))
        classes[code] = now if now == then else UNSURE
    classes[white_space_table()] = SPACE
    classes[[0x180E, 0x200B]] = UNSURE  # were white space for a time
    return classes


def _class(category: str) -> int:
    if category in ("Cn", "Cs", "Co"):
        return UNSURE
    return {"L": LETTER, "N": NUMBER, "Z": SPACE}.get(category[0], OTHER)
