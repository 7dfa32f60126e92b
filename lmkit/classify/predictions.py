"""What a classifier says of texts, as columns: the class, its probability, and that of each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.data.table import Table
from lmkit.classify.prefixes import Prefixes
from lmkit.errors import ConfigError
from lmkit.evaluation.scoring.table import Column

__all__ = ["carried", "class_columns", "word_columns"]

Carried = Mapping[str, tuple[Any, ...]]
PREDICTED = "predicted"
LINE = "line"


def carried(table: Table, names: str | None, classes: Sequence[str]) -> Carried:
    """The columns of a table that are carried along: names with commas between them, ``all``, or None; ``line``, where
    a row begins in its file, is one, too, unless the table has its own. Raises DataError for one that is not there, and
    ConfigError for one that has the name of what is predicted.
    """
    if names is None:
        return {}
    chosen = list(table.columns) if names.strip() == "all" else [name.strip() for name in names.split(",")]
    lines = {LINE: table.lines} | dict(table.columns)
    found = {name: lines[LINE] if name == LINE else table.column(name, "--columns") for name in chosen}
    own = (PREDICTED, "probability", "word", *map(_titled, classes))
    if clash := [name for name in found if name in own]:
        raise ConfigError(f"The column {clash[0]!r} is one of the prediction, too: leave it out of --columns.")
    return found


def class_columns(classes: Sequence[str], log_probs: NDArray[np.float64]) -> Iterator[Column]:
    """A row for each of N texts, from log-probabilities (N, C)."""
    shares = np.exp(log_probs)
    said = shares.argmax(1)
    yield Column(PREDICTED, [classes[index] for index in said.tolist()])
    yield Column("probability", shares[np.arange(len(said)), said].tolist())
    for name, share in zip(classes, shares.T, strict=True):
        yield Column(_titled(name), share.tolist())


def word_columns(classes: Sequence[str], prefixes: Prefixes) -> Iterator[Column]:
    """A row for each word of a text."""
    yield Column("word", prefixes.words)
    yield from class_columns(classes, prefixes.log_probs)


def _titled(name: str) -> str:
    return f"p_{name}"
