"""Source: where a text comes from, as documents that can be read again and again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.text.sources.chunk import Chunk

__all__ = [
    "WHOLE",
    "ChunkPiece",
    "Document",
    "Piece",
    "Reading",
    "Slice",
    "Source",
    "file_stamp",
    "is_within_word",
    "line_cut",
    "pieces",
    "space_cut",
    "word_end_cut",
]

WHOLE = "text"
LINE_END = re.compile("\n")
WORD_END = re.compile(r"(?<=\S)(?=[ \n])")  # and a place where a tokenizer may be interrupted, as cut_before_space
SPACE = re.compile(r"[^\S\x1c-\x1f]")  # what separates words
Piece = tuple[int, str]
ChunkPiece = tuple[int, Chunk]


@dataclass(frozen=True)
class Document:
    """One text: ``chunks()`` reads it from its begin each time, in strings of at most about a million characters.

    ``utf8`` reads it as it is stored, where it is stored in UTF-8: that is quicker than strings that are encoded again.
    """

    name: str
    chunks: Callable[[], Iterable[str]]
    utf8: Callable[[], Iterable[Chunk]] | None = None

    def encoded(self) -> Iterable[Chunk]:
        """The text in UTF-8. Raises DataError for a lone surrogate."""
        return map(Chunk.of, self.chunks()) if self.utf8 is None else self.utf8()


@dataclass(frozen=True)
class Source:
    """Documents in parts: one part named ``text`` that is still to be cut, or the parts train, valid and test.

    ``files`` are what the documents are read from; ``version`` identifies the content of a source without files, None
    where nothing does.
    """

    name: str
    description: str
    parts: dict[str, list[Document]]
    files: list[Path] = field(default_factory=list)
    version: str | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def stamp(self) -> list[list[Any]]:
        """What changes when the content does, found without reading it; empty where that is impossible.

        For each file its path, size, time of its last change, time of its inode's last change, and inode.
        """
        if self.version is not None:
            return [[self.version, 0, 0, 0, 0]]
        return [file_stamp(path) for path in self.files]


@dataclass(frozen=True)
class Slice:
    """The characters begin..end of some documents in a row."""

    documents: list[Document]
    begin: int
    end: int

    @property
    def chars(self) -> int:
        """How many characters that are."""
        return self.end - self.begin

    def pieces(self) -> Iterator[Piece]:
        """As the function ``pieces``."""
        return pieces(self.documents, self.begin, self.end)

    def encoded(self) -> Iterator[ChunkPiece]:
        """The same pieces in UTF-8."""
        return Reading(self.documents).take(self.begin, self.end)


class Reading:
    """Documents in a row that are read once; what is taken of them comes in order."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.position = 0  # characters that are read
        self._chunks = ((number, chunk) for number, document in enumerate(documents) for chunk in document.encoded())
        self._rest: ChunkPiece | None = None

    def take(self, begin: int, end: int | None = None) -> Iterator[ChunkPiece]:
        """The characters begin..end, as (number of the document, text) without empty texts; ``begin`` is not before
        the end of what was taken last.
        """
        while end is None or self.position < end:
            piece = self._rest or next(self._chunks, None)
            if piece is None:
                return
            number, chunk = piece
            start, self._rest = self.position, None
            self.position += chunk.chars
            if end is not None and self.position > end:
                self._rest, self.position = (number, chunk.part(end - start, None)), end
            if self.position > max(begin, start):
                yield number, chunk.part(max(0, begin - start), self.position - start)


def file_stamp(path: Path) -> list[Any]:
    """A file's path, size, time of its last change, time of its inode's last change, and inode. Raises OSError."""
    found = os.stat(path)
    return [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def pieces(documents: Sequence[Document], begin: int = 0, end: int | None = None) -> Iterator[Piece]:
    """The characters begin..end of all documents in a row, as (number of the document, text) without empty texts."""
    for number, chunk in Reading(documents).take(begin, end):
        yield number, chunk.text


def line_cut(documents: Sequence[Document], cut: int) -> int:
    """The first end of a line or document that is not before ``cut``, in characters."""
    return _cut_after(LINE_END, documents, cut)


def space_cut(documents: Sequence[Document], cut: int) -> int:
    """The first end of a white space or document that is not before ``cut``, in characters."""
    return _cut_after(SPACE, documents, cut)


def word_end_cut(documents: Sequence[Document], cut: int) -> int:
    """The first end of a word before a space or a line end, or of a document, that is not before ``cut``, in
    characters.
    """
    return _cut_after(WORD_END, documents, cut)


def is_within_word(documents: Sequence[Document], place: int) -> bool:
    """Whether the characters before and after a place belong to one word."""
    around = list(pieces(documents, place - 1, place + 1))
    return len({number for number, _ in around}) == 1 and not SPACE.search("".join(text for _, text in around))


def _cut_after(border: re.Pattern[str], documents: Sequence[Document], cut: int) -> int:
    if cut == 0:
        return 0
    position = cut - 1
    document: int | None = None
    for number, text in pieces(documents, cut - 1):
        if document not in (None, number):
            return position
        if found := border.search(text):
            return position + found.end()
        document = number
        position += len(text)
    return position
