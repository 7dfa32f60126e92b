"""Counts: how much text there is, in every unit; and the meter that takes them while a text goes by."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lmkit.errors import DataError
from lmkit.text.whitespace import code_points, count_words

__all__ = ["Counts", "TextMeter"]


@dataclass(frozen=True)
class Counts:
    """Sizes of a text, all of the original text except ``oov`` and ``tokens``.

    ``words`` are separated by whitespace, ``line_ends`` are the ``\\n``, ``chars`` are code points, ``bytes`` are those
    of UTF-8. ``tokens`` are all targets, the ``<eos>`` that close documents included; ``oov`` are the ``<unk>`` among
    them.
    """

    zero: ClassVar[Counts]

    words: int = 0
    line_ends: int = 0
    chars: int = 0
    bytes: int = 0
    oov: int = 0
    tokens: int = 0
    documents: int = 0

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(mine + its for mine, its in pairs))


Counts.zero = Counts()


class TextMeter:
    """Counts words, line ends, characters and bytes, and takes the sha256 of the text that passes through ``watch``."""

    def __init__(self) -> None:
        self.words = self.line_ends = self.chars = self.bytes = 0
        self._hash = hashlib.sha256()

    def watch(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pass the chunks of one document through; a word may cross chunks, never documents."""
        inside = False
        for chunk in chunks:
            try:
                data = chunk.encode("utf-8")
            except UnicodeEncodeError as error:
                raise DataError(f"The text holds a lone surrogate ({error}): clean it first.") from error
            starts, inside = count_words(code_points(chunk), inside_word=inside)
            self.words += starts
            self.line_ends += chunk.count("\n")
            self.chars += len(chunk)
            self.bytes += len(data)
            self._hash.update(data)
            yield chunk

    @property
    def sha256(self) -> str:
        """The sha256 of the text so far, as UTF-8."""
        return self._hash.hexdigest()
