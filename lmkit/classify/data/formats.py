"""Files of rows as named columns of text: CSV, TSV, one JSON object a line, or a text a line."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from lmkit.errors import DataError

__all__ = ["FORMATS", "LONGEST_CELL", "SUFFIXES", "TEXT", "Row", "lines_of"]

LONGEST_CELL = 1 << 22  # characters; more in one cell is nearly always a quote that nobody closed
LONGEST_LINE = 4 * LONGEST_CELL
TEXT = "text"  # the only column of a file that has a text on each line
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "lines"}
BYTE_ORDER_MARK = "\ufeff"
FAULTS = {  # what the csv module says, and what to do
    "unexpected end": "a quote opens there and is never closed",
    "field larger": f"a cell has more than {LONGEST_CELL:,} characters: is a quote never closed there?",
    "expected after": "a quote ends before its cell does: inside a quoted cell a quote is written twice",
    "new-line": "a carriage return stands alone: save the file with ordinary line ends",
}
LIMIT = threading.Lock()


class Row(NamedTuple):
    """The line that a row begins on, from 1, and its cells by their column."""

    line: int
    cells: dict[str, str]


def lines_of(chunks: Iterable[str], name: str) -> Iterator[str]:
    """The lines of a text with their ends, without a byte order mark. Raises DataError for NUL and for a line that is
    longer than any row can be.
    """
    rest, number = "", 1
    for index, chunk in enumerate(chunks):
        rest += chunk.removeprefix(BYTE_ORDER_MARK) if index == 0 else chunk
        *whole, rest = rest.split("\n")
        for line in whole:
            yield _checked(line + "\n", number, name)
            number += 1
        _checked(rest, number, name)
    if rest:
        yield rest


def _checked(line: str, number: int, name: str) -> str:
    if len(line) > LONGEST_LINE:
        raise DataError(f"{name}, line {number:,}: it has more than {LONGEST_LINE:,} characters, which no row has.")
    if "\0" in line:
        raise DataError(f"{name}, line {number:,}: it holds a NUL byte: is this a text file?")
    return line


def _csv_rows(lines: Iterable[str], name: str) -> Iterator[Row]:
    return _table_rows(iter(_csv_cells(lines, name)), name)


def _csv_cells(lines: Iterable[str], name: str) -> list[tuple[int, list[str]]]:
    """The cells of each row with the line that it begins on. Cells may be quoted and hold line ends then."""
    reader = csv.reader(lines, strict=True)
    begins, found = 1, []
    with _long_cells():
        try:
            for cells in reader:
                if cells:
                    found.append((begins, cells))
                begins = reader.line_num + 1
        except csv.Error as error:
            why = next((what for said, what in FAULTS.items() if said in str(error)), f"it is no CSV ({error})")
            raise DataError(f"{name}, line {begins:,}: {why}{'' if why.endswith('?') else '.'}") from None
    return found


@contextmanager
def _long_cells() -> Iterator[None]:
    """The csv module's limit for a cell, which is one for the whole process, is ours for a while."""
    with LIMIT:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _tsv_rows(lines: Iterable[str], name: str) -> Iterator[Row]:
    """TSV has no quotes (IANA, text/tab-separated-values): a cell holds neither tab nor line end."""
    cells = ((number, line.rstrip("\r\n").split("\t")) for number, line in enumerate(lines, 1) if line.strip("\r\n"))
    return _table_rows(cells, name)


def _table_rows(rows: Iterator[tuple[int, list[str]]], name: str) -> Iterator[Row]:
    """Rows below a first one that names the columns."""
    first, heads = next(rows, (1, []))
    names = [head.strip() for head in heads]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise DataError(f"{name}, line {first:,}: two columns are called {twice[0]!r}: rename one of them.")
    for line, cells in rows:
        if len(cells) != len(names):
            raise DataError(
                f"{name}, line {line:,}: the row has {_columns(len(cells))}, and the first line names {len(names)}: "
                f"{', '.join(names)}.{_hint(names)}"
            )
        yield Row(line, dict(zip(names, cells, strict=True)))


def _hint(names: list[str]) -> str:
    """What to do about a first line whose columns are separated by something else than in its format."""
    if len(names) == 1 and ";" in names[0]:
        return " Separate columns with commas, not with ';'."
    return ""


def _columns(count: int) -> str:
    return f"{count} column{'' if count == 1 else 's'}"


def _json_rows(lines: Iterable[str], name: str) -> Iterator[Row]:
    """One JSON object a line. Numbers keep the digits that they are written with."""
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            found = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise DataError(f"{name}, line {number:,}: it is not JSON ({reason}): one object a line.") from None
        if not isinstance(found, dict):
            raise DataError(f'{name}, line {number:,}: it is no JSON object such as {{"text": "...", "label": "..."}}.')
        cells = {key.strip(): _cell(value) for key, value in found.items()}
        if not _is_text("".join([*cells, *cells.values()])):
            raise DataError(f"{name}, line {number:,}: half of a surrogate pair stands alone, which is no character.")
        yield Row(number, cells)


def _is_text(value: str) -> bool:
    """Whether a string of JSON can be written as UTF-8."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _cell(value: Any) -> str:
    """A value of JSON as the text of a cell; none is empty."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _text_rows(lines: Iterable[str], name: str) -> Iterator[Row]:
    """A text a line, blank lines left out."""
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            yield Row(number, {TEXT: line.rstrip("\r\n")})


FORMATS: dict[str, Callable[[Iterable[str], str], Iterator[Row]]] = {
    "csv": _csv_rows,
    "tsv": _tsv_rows,
    "jsonl": _json_rows,
    "lines": _text_rows,
}
