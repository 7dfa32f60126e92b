"""Texts with labels: what a classifier is trained on and measured with."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.data.table import Table, read_table
from lmkit.errors import DataError

__all__ = ["LabelledTexts", "label_texts", "named", "read_labelled", "texts_of"]

T = TypeVar("T")
MOST_NAMED = 10


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """N texts with their labels (N,), indices into ``classes``; the other columns of their file are carried along.

    name: the file; lines: where each row begins in it, from 1.
    """

    name: str
    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many texts each class has, (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def sha256(self) -> str:
        """Of the texts, their labels and the classes, in their order; the other columns do not matter."""
        digest = hashlib.sha256()
        for part in (*self.classes, "", *(self.classes[label] for label in self.labels.tolist()), "", *self.texts):
            content = part.encode("utf-8")
            digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> LabelledTexts:
        """Some of the rows, in the order given; the classes stay."""
        chosen = np.asarray(rows, dtype=np.int64)
        columns = {name: _taken(cells, chosen) for name, cells in self.columns.items()}
        lines = _taken(self.lines, chosen)
        return LabelledTexts(self.name, _taken(self.texts, chosen), self.labels[chosen], self.classes, columns, lines)


def _taken(values: tuple[T, ...], rows: NDArray[np.int64]) -> tuple[T, ...]:
    return tuple(values[row] for row in rows.tolist())


def read_labelled(
    name: str | os.PathLike[str],
    *,
    text_column: str,
    label_column: str,
    classes: Sequence[str] | None = None,
    form: str | None = None,
) -> LabelledTexts:
    """Labelled texts from a file, as ``read_table`` reads it and ``label_texts`` labels it."""
    return label_texts(read_table(name, form), text_column, label_column, classes)


def label_texts(
    table: Table, text_column: str, label_column: str, classes: Sequence[str] | None = None
) -> LabelledTexts:
    """Texts and labels of a table. classes: those of the training file; by default they are the table's own, sorted,
    and there must be two of them.

    A label is the text of its cell without the white space around it: ``1`` and ``1.0`` are two labels. Raises
    DataError for a column that is not there, an empty text or label, and a label that is not among the classes.
    """
    if text_column == label_column:
        raise DataError(f"The column {text_column!r} cannot be both text and label: choose another --label-column.")
    texts = texts_of(table, text_column)
    found = [cell.strip() for cell in table.column(label_column, "--label-column")]
    for line, label in zip(table.lines, found, strict=True):
        if not label:
            raise DataError(f"{table.name}, line {line:,}: the label is empty: every text needs one.")
    known = _own_classes(found, table, label_column) if classes is None else _known(found, table, classes)
    index = {label: number for number, label in enumerate(known)}
    labels = np.array([index[label] for label in found], dtype=np.int64)
    others = {name: cells for name, cells in table.columns.items() if name not in (text_column, label_column)}
    return LabelledTexts(table.name, texts, labels, known, others, table.lines)


def texts_of(table: Table, text_column: str) -> tuple[str, ...]:
    """The texts of a table. Raises DataError for a column that is not there and for an empty text."""
    texts = table.column(text_column, "--text-column")
    for line, text in zip(table.lines, texts, strict=True):
        if not text.strip():
            raise DataError(f"{table.name}, line {line:,}: the text is empty: there is nothing to classify.")
    return texts


def named(labels: Sequence[str]) -> str:
    """Labels in a sentence, the first ones where there are many."""
    more = f" and {len(labels) - MOST_NAMED:,} more" if len(labels) > MOST_NAMED else ""
    return ", ".join(map(_shown, labels[:MOST_NAMED])) + more


def _shown(label: str) -> str:
    return repr(label if len(label) <= 40 else label[:39] + "…")


def _own_classes(found: Sequence[str], table: Table, label_column: str) -> tuple[str, ...]:
    classes = tuple(sorted(set(found)))
    if len(classes) == 1:
        raise DataError(
            f"{table.name} has only one label in its column {label_column!r}, {_shown(classes[0])}: a classifier needs "
            "two classes or more."
        )
    return classes


def _known(found: Sequence[str], table: Table, classes: Sequence[str]) -> tuple[str, ...]:
    own = set(classes)
    strange = Counter(label for label in found if label not in own)
    if strange:
        line = table.lines[next(row for row, label in enumerate(found) if label in strange)]
        rows = strange.total()
        raise DataError(
            f"{table.name}, line {line:,}: {named(sorted(strange))} {'is' if len(strange) == 1 else 'are'} no class of "
            f"the training file ({rows:,} row{'' if rows == 1 else 's'}): its classes are {named(list(classes))}."
        )
    return tuple(classes)
