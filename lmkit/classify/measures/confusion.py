"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassScore", "Confusion"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """One class: how many texts have it and were said to, and how many of these were right. A ratio that has nothing
    below it is None.
    """

    name: str
    texts: int
    predicted: int
    right: int

    @property
    def precision(self) -> float | None:
        """Of the texts that were said to be of this class, those that are."""
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> float | None:
        """Of the texts of this class, those that were said to be."""
        return _ratio(self.right, self.texts)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both: 0 where nothing is right, None where the class neither is there nor is said."""
        return _ratio(2 * self.right, self.texts + self.predicted)


@dataclass(frozen=True, eq=False)
class Confusion:
    """counts (C, C): how many texts of each class, a row, were said to be of each, a column."""

    classes: tuple[str, ...]
    counts: Integers

    @classmethod
    def of(cls, classes: tuple[str, ...], labels: Integers, predicted: Integers) -> Confusion:
        """From the classes of N texts and those that were said, (N,) both."""
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, (labels, predicted), 1)
        return cls(classes, counts)

    @property
    def total(self) -> int:
        """Texts."""
        return int(self.counts.sum())

    @property
    def right(self) -> int:
        """Texts whose class was said."""
        return int(self.counts.trace())

    def scores(self) -> Iterator[ClassScore]:
        """Every class by itself."""
        columns = (self.counts.sum(1), self.counts.sum(0), self.counts.diagonal())
        for name, *counts in zip(self.classes, *(column.tolist() for column in columns), strict=True):
            yield ClassScore(name, *counts)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes, each as one, that are there or were said."""
        found = [score.f1 for score in self.scores() if score.f1 is not None]
        return sum(found) / len(found)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
