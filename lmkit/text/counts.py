"""Counts: how much text there is, in every unit; and the meter that takes them while a text goes by."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lmkit.text.sources.chunk import Chunk

__all__ = ["Counts", "TextMeter"]

LETTER = r"[\S\x1c-\x1f]"  # what words are made of, as in ``whitespace``


@dataclass(frozen=True)
class Counts:
    """Sizes of a text, all of the original text except ``oov`` and ``tokens``.

    ``words`` are separated by whitespace, ``line_ends`` are the ``\\n``, ``chars`` are code points, ``bytes`` are those
    of UTF-8. ``tokens`` are all targets, the ``<eos>`` that close documents included; ``oov`` are the ``<unk>`` among
    them, and ``oov_written`` those of them that the text itself holds as a word, as WikiText's does.
    """

    zero: ClassVar[Counts]

    words: int = 0
    line_ends: int = 0
    chars: int = 0
    bytes: int = 0
    oov: int = 0
    tokens: int = 0
    documents: int = 0
    oov_written: int = 0

    @property
    def unknown(self) -> int:
        """Tokens that became ``<unk>`` because the vocabulary lacks them."""
        return max(0, self.oov - self.oov_written)

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(mine + its for mine, its in pairs))


Counts.zero = Counts()


class _Occurrences:
    """Counts a word between white space in one document that comes in chunks; the word may cross them."""

    def __init__(self, word: str) -> None:
        self.word = word
        # the look behind comes last: a pattern that begins with letters is found several times as quickly
        self.pattern = re.compile(rf"{re.escape(word)}(?<!{LETTER}{re.escape(word)})(?!{LETTER})")
        self.count = 0
        self.tail = ""  # the last characters, one more than the word has: what is before it must be seen, too

    def add(self, chunk: str) -> None:
        """Count those whose next character is known by now and was not before."""
        text = self.tail + chunk
        found = self.pattern.findall(text, max(0, len(self.tail) - len(self.word)))
        self.count += len(found) - self._ends(text)
        self.tail = text[-len(self.word) - 1 :]

    def close(self) -> int:
        """The number, with the one that the document ends in."""
        return self.count + self._ends(self.tail)

    def _ends(self, text: str) -> bool:
        """Whether a text ends in the word."""
        return self.pattern.match(text, max(0, len(text) - len(self.word))) is not None


class TextMeter:
    """Counts words, line ends, characters and bytes, and takes the sha256 of the text that passes through ``watch``.

    word: is counted, too, in ``written``: how often it stands in the text between white space.
    """

    def __init__(self, word: str | None = None) -> None:
        self.words = self.line_ends = self.chars = self.bytes = self.written = 0
        self._word = word
        self._hash = hashlib.sha256()

    def watch(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass the chunks of one document through; a word may cross chunks, never documents."""
        inside = False
        wanted = _Occurrences(self._word) if self._word else None
        for chunk in chunks:
            starts, inside = chunk.count_words(inside_word=inside)
            self.words += starts
            self.line_ends += chunk.line_ends
            self.chars += chunk.chars
            self.bytes += len(chunk.data)
            self._hash.update(chunk.data)
            if wanted is not None:
                wanted.add(chunk.text)
            yield chunk
        if wanted is not None:
            self.written += wanted.close()

    @property
    def sha256(self) -> str:
        """The sha256 of the text so far, as UTF-8."""
        return self._hash.hexdigest()
