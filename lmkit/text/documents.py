"""Where documents end inside a file: at each line, or at each run of blank lines; and lines that are read alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lmkit.errors import DataError

__all__ = ["EACH_LINE", "split_documents"]

# Not a rule of training but of the state policy ``line``: each line is encoded by itself and no ``<eos>`` closes it.
EACH_LINE = "each-line"

LONGEST_DOCUMENT = 1 << 27  # characters
BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")
BLANKS = " \t\r\n"
ONLY_BLANKS_LEFT = re.compile(r"[ \t\r]*\Z")


def split_documents(chunks: Iterable[str], rule: str) -> Iterator[list[str]]:
    """Cut a text into documents by ``line`` or ``blank-line``; joined they are the text again.

    A document keeps the line end, or the blank lines, that close it; blank lines at the beginning of the text belong to
    its first document. Lists of whole documents come as the chunks do; memory grows with the longest document, and past
    LONGEST_DOCUMENT it is a DataError.
    """
    take = {"line": _take_lines, "blank-line": _take_paragraphs}[rule]
    rest: list[str] = []
    held = 0
    for chunk in chunks:
        held += len(chunk)
        if held > LONGEST_DOCUMENT:
            raise DataError(
                f"A document has more than {LONGEST_DOCUMENT:,} characters: is --documents {rule} right here?"
            )
        if "\n" not in chunk or (rule == "blank-line" and not _may_end_paragraph(rest, chunk)):
            rest.append(chunk)
            continue
        whole, last = take("".join([*rest, chunk]))
        rest, held = [last], len(last)
        if whole:
            yield whole
    whole, last = take("".join(rest))
    if whole or last:
        yield [*whole, last] if last else whole


def _may_end_paragraph(rest: list[str], chunk: str) -> bool:
    """Whether a chunk can bring blank lines, so that a long text without any is not searched again and again."""
    after_blank = bool(rest) and rest[-1][-1:] in BLANKS
    return after_blank or BLANK_LINES.search(chunk) is not None


def _take_lines(text: str) -> tuple[list[str], str]:
    *whole, rest = text.split("\n")
    return [line + "\n" for line in whole], rest


def _take_paragraphs(text: str) -> tuple[list[str], str]:
    whole = []
    begin = 0
    for match in BLANK_LINES.finditer(text):
        end = match.end()
        if ONLY_BLANKS_LEFT.match(text, end):
            break  # the run of blank lines may continue in the next chunk
        document = text[begin:end]
        if document.isspace():
            continue
        whole.append(document)
        begin = end
    return whole, text[begin:]
