"""A file of rows, read whole: columns of text by their names, and the line that each row begins on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.classify.data.formats import FORMATS, LONGEST_CELL, SUFFIXES, Row, lines_of
from lmkit.errors import DataError
from lmkit.files import expanded, is_folder
from lmkit.text.sources.opening import open_local
from lmkit.text.sources.reading import decode_chunks

__all__ = ["Table", "form_of", "read_table"]

STANDARD_INPUT = "standard input"
COMPRESSED = (".gz", ".zst")
READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Table:
    """N rows of a file. columns: the N cells of each column, by its name; lines: where each row begins, from 1."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, option: str) -> tuple[str, ...]:
        """The cells of a column. Raises DataError with the columns that are there, and the option that chooses one."""
        if name not in self.columns:
            raise DataError(f"{self.name} has no column {name!r}: {_known(list(self.columns), option)}")
        return self.columns[name]


def read_table(name: str | os.PathLike[str], form: str | None = None) -> Table:
    """The rows of a file (.gz and .zst are unpacked), or of standard input for ``-``. form: csv, tsv, jsonl or lines;
    by default what the file's name ends in.

    In CSV and TSV the first line names the columns. In JSONL each line is an object, and what one lacks is empty.
    Names of columns lose the white space around them, cells keep theirs. Raises DataError, with the line, for what is
    no such file, for rows of different lengths, for a cell of more than LONGEST_CELL characters, and for a file
    without rows.
    """
    form = form or form_of(name)
    with _opened(name) as (shown, chunks):
        rows = [_checked(row, shown) for row in FORMATS[form](lines_of(chunks, shown), shown)]
    if not rows:
        raise DataError(f"{shown} has no rows{' below its first line' if form in ('csv', 'tsv') else ''}.")
    names = dict.fromkeys(name for row in rows for name in row.cells)
    columns = {name: tuple(row.cells.get(name, "") for row in rows) for name in names}
    return Table(shown, columns, tuple(row.line for row in rows))


def form_of(name: str | os.PathLike[str]) -> str:
    """The format that a file's name ends in. Raises DataError where it is none of those that are read."""
    path = Path(name)
    suffixes = [one.lower() for one in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        shown = STANDARD_INPUT if str(name) == "-" else path
        raise DataError(
            f"{shown} does not say what it is: give a file whose name ends in .csv, .tsv or .jsonl, or its format as "
            "--input-format."
        )
    return SUFFIXES[suffixes[-1]]


def _known(names: list[str], option: str) -> str:
    """What to do where a column is not there."""
    (first, *others) = names
    if not others and (mark := next((mark for mark in ";\t" if mark in first), "")):
        return f"its only column is {first!r}. Separate columns with commas, not with {mark!r}."
    return f"its columns are {', '.join(map(repr, names))}. Choose one with {option}; the first line has their names."


@contextmanager
def _opened(name: str | os.PathLike[str]) -> Iterator[tuple[str, Iterator[str]]]:
    """The name of a text to show, and its chunks."""
    if str(name) == "-":
        yield STANDARD_INPUT, decode_chunks(_standard_input(), STANDARD_INPUT)
        return
    if is_folder(expanded(name)):
        raise DataError(f"{name} is a folder: give one file with a column of texts.")
    with open_local(name) as source:
        (document,) = (document for part in source.parts.values() for document in part)
        yield str(name), iter(document.chunks())


def _standard_input() -> Iterator[bytes]:
    file: Any = sys.stdin.buffer
    while block := file.read(READ_AT_ONCE):
        yield block


def _checked(row: Row, name: str) -> Row:
    if (longest := max(map(len, row.cells.values()), default=0)) > LONGEST_CELL:
        raise DataError(f"{name}, line {row.line:,}: a cell has {longest:,} characters, more than {LONGEST_CELL:,}.")
    return row
