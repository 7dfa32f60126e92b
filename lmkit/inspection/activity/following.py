"""Which units follow something: correlations, and what the best of so many units reaches by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import DataError
from lmkit.inspection.finding import Finding, Floats

__all__ = ["LEAST_TOKENS", "Following", "units_that_follow"]

LEAST_TOKENS = 50


@dataclass(frozen=True, eq=False)
class Following(Finding):
    """The correlation (D,) of each unit with a series of labels, and for comparison the largest one without sign among
    all units with each shifted copy of the labels (S,). A unit that does not vary has correlation 0.
    """

    correlations: Floats
    shifted: Floats

    @property
    def order(self) -> NDArray[np.int64]:
        """The units, the one that follows best first."""
        return np.argsort(-abs(self.correlations), kind="stable")

    @property
    def p_values(self) -> Floats:
        """For each unit (D,) how often the best unit is as good by chance: already corrected for their number."""
        as_good = (self.shifted[:, None] >= abs(self.correlations)).sum(axis=0)
        return (1 + as_good) / (1 + len(self.shifted))

    @property
    def threshold(self) -> float:
        """What the best unit exceeds by chance once in twenty times."""
        return float(np.quantile(self.shifted, 0.95))

    def to_dict(self) -> dict[str, Any]:
        """With the p-values and the threshold."""
        return {**super().to_dict(), "p_values": self.p_values.tolist(), "threshold": self.threshold}


def units_that_follow(values: Floats, labels: Floats, *, shifts: int = 199, seed: int = 0) -> Following:
    """Correlate the values (T, D) of units with labels (T,).

    The control moves the labels along the text, their end to its beginning, and takes the best of all units each time
    (the largest statistic, Westfall & Young 1993). Labels in a drawn order would be no control: neighbours in a text
    are alike, in units as in labels, and two series that change slowly correlate by chance. Raises DataError for a text
    that is too short, or labels that do not change.
    """
    if len(labels) != len(values):
        raise DataError(f"There are {len(labels):,} labels for {len(values):,} tokens: give one for each.")
    if len(labels) < LEAST_TOKENS:
        raise DataError(f"A text of {len(labels):,} tokens is too short for this: give {LEAST_TOKENS} or more.")
    if labels.min() == labels.max():
        raise DataError("What the units are to follow is the same at every token: give a text in which it changes.")
    units, series = _standard(values), _standard(labels[:, None])[:, 0]
    lags = np.random.default_rng(seed).integers(len(labels) // 10, len(labels) - len(labels) // 10, shifts)
    moved = np.stack([np.roll(series, lag) for lag in lags])
    return Following(series @ units / len(labels), abs(moved @ units / len(labels)).max(axis=1))


def _standard(values: Floats) -> Floats:
    """Columns with mean 0 and deviation 1, zeros where a column does not vary."""
    deviation = values.std(axis=0)
    still = deviation <= 1e-12 * np.maximum(1, abs(values).max(axis=0))
    standard: Floats = (values - values.mean(axis=0)) / np.where(still, np.inf, deviation)
    return standard
