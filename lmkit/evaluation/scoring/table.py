"""Columns as text: tab-separated, comma-separated, or one JSON object a line."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring
from typing import Any, NamedTuple

__all__ = ["Column", "header", "rows"]

FLOAT = "%.7g"
ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
TO_ESCAPE_IN_JSON = re.compile(r"[\x85\u2028\u2029]")  # JSON allows them, but some programs end a line there
TO_ESCAPE = re.compile(r"[\\\t\n\r\0\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


class Column(NamedTuple):
    """A name and its values: strings, whole numbers, truths, floats, for JSON lists too; None where there is none."""

    name: str
    values: Sequence[Any]


def _escape(text: str) -> str:
    r"""A text in one line without tabs: backslash, tab, line ends and NUL as \\, \t, \n, \r, \0, others that some
    programs take for line ends as \x0b or \u2028.
    """
    return TO_ESCAPE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    return ESCAPES.get(letter) or (f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}")


def _escaped_in_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _json_float(value: float) -> str:
    return FLOAT % value if math.isfinite(value) else "null"


PLAIN: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "1" if value else "0",
    float: FLOAT.__mod__,
    type(None): lambda value: "",
}
ESCAPED = PLAIN | {str: _escape}
JSON: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "true" if value else "false",
    float: _json_float,
    str: lambda value: TO_ESCAPE_IN_JSON.sub(_escaped_in_json, encode_basestring(value)),
    list: lambda value: json.dumps(value, ensure_ascii=False),
    type(None): lambda value: "null",
}


def header(names: Iterable[str], format: str) -> str:
    """The line of names in a format (tsv, csv or jsonl); JSON has none."""
    return "" if format == "jsonl" else _lines([[_forms(format).get(str, str)(name)] for name in names], format)


def rows(columns: Sequence[Column], format: str) -> str:
    """The lines of values. Floats have seven significant digits, truths are 1 and 0 (JSON: true and false), what is
    missing is empty (JSON: null, as is what is not finite).
    """
    if format == "jsonl":
        row = "{" + ", ".join(f"{json.dumps(column.name)}: %s" for column in columns) + "}\n"
        values = zip(*(_cells(column.values, JSON) for column in columns), strict=True)
        return "".join(map(row.__mod__, values))
    return _lines([_cells(column.values, _forms(format)) for column in columns], format)


def _forms(format: str) -> dict[type, Callable[[Any], str]]:
    return ESCAPED if format == "tsv" else PLAIN


def _lines(cells: Sequence[Sequence[str]], format: str) -> str:
    """Columns of cells as lines."""
    if format == "tsv":
        return "".join(line + "\n" for line in map("\t".join, zip(*cells, strict=True)))
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(zip(*cells, strict=True))
    return file.getvalue()


def _cells(values: Sequence[Any], forms: dict[type, Callable[[Any], str]]) -> list[str]:
    """Values as text; all that are there have the type of the first."""
    kind = next((type(value) for value in values if value is not None), str)
    form, missing = forms.get(kind, str), forms[type(None)](None)
    return [missing if value is None else form(value) for value in values]
