"""Source: where a text comes from, as documents that can be read again and again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["WHOLE", "Document", "Piece", "Slice", "Source", "file_stamp", "line_cut", "pieces"]

WHOLE = "text"
Piece = tuple[int, str]


@dataclass(frozen=True)
class Document:
    """One text: ``chunks()`` reads it from its begin each time, in strings of at most about a million characters."""

    name: str
    chunks: Callable[[], Iterable[str]]


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


def file_stamp(path: Path) -> list[Any]:
    """A file's path, size, time of its last change, time of its inode's last change, and inode. Raises OSError."""
    found = os.stat(path)
    return [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def pieces(documents: Sequence[Document], begin: int = 0, end: int | None = None) -> Iterator[Piece]:
    """The characters begin..end of all documents in a row, as (number of the document, text) without empty texts."""
    position = 0
    for number, document in enumerate(documents):
        for chunk in document.chunks():
            start, position = position, position + len(chunk)
            if position <= begin:
                continue
            if end is not None and start >= end:
                return
            text = chunk[max(0, begin - start) : None if end is None else end - start]
            if text:
                yield number, text


def line_cut(documents: Sequence[Document], cut: int) -> int:
    """The first end of a line or document that is not before ``cut``, in characters."""
    if cut == 0:
        return 0
    position = cut - 1
    document: int | None = None
    for number, text in pieces(documents, cut - 1):
        if document not in (None, number):
            return position
        found = text.find("\n")
        if found >= 0:
            return position + found + 1
        document = number
        position += len(text)
    return position
