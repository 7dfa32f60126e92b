"""Calibration: of the texts that a classifier is 90 % sure of, is it right on 90 %?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bin", "Calibration"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """Texts of similar confidence, the probability of the class that was said: its bounds and mean, and the share of
    these texts that are right.
    """

    texts: int
    low: float
    high: float
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Bins of about equally many texts, from the least confidence to the most.

    error: the expected calibration error, the mean distance between confidence and accuracy of the bins, weighted by
    their texts (Naeini, Cooper & Hauskrecht 2015; bins of equal mass: Nguyen & O'Connor 2015, arXiv 1508.05154). It is
    never below zero, so chance alone makes some; by_chance: what a perfectly calibrated classifier of these confidences
    would show on so few texts, by the normal approximation.
    """

    bins: tuple[Bin, ...]
    error: float
    by_chance: float

    @classmethod
    def of(cls, confidence: Floats, right: NDArray[np.bool_], bins: int) -> Calibration:
        """From the confidence of N texts and whether each is right, (N,) both; no more than ``bins`` bins. Texts of one
        confidence are in one bin, so the order of the texts does not matter.
        """
        order = np.argsort(confidence, kind="stable")
        confidence, right = confidence[order], right[order]
        edges = np.linspace(0, len(order), bins + 1).round().astype(int)[1:-1]
        cuts = np.unique(np.searchsorted(confidence, confidence[edges.clip(max=len(order) - 1)]))
        found, error, by_chance = [], 0.0, 0.0
        for part, hits in zip(np.split(confidence, cuts), np.split(right, cuts), strict=True):
            if not len(part):
                continue
            one = Bin(len(part), float(part[0]), float(part[-1]), _mean(part), int(hits.sum()) / len(part))
            found.append(one)
            error += one.texts * abs(one.confidence - one.accuracy) / len(order)
            by_chance += math.sqrt(2 / math.pi * math.fsum(part * (1 - part))) / len(order)
        return cls(tuple(found), error, by_chance)


def _mean(values: Floats) -> float:
    return math.fsum(values.tolist()) / len(values)
