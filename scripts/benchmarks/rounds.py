"""Rounds: short slices of both sides in turn, ratios round by round, and a refusal where they scatter."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST_SPREAD = 0.15
Run = Callable[[], float]


@dataclass
class Result:
    """Speeds of a case, one a round; the rate of matrix products of the same rounds, where the case has any."""

    case: str
    unit: str
    against: str
    plain: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    gemm: list[float] = field(default_factory=list)
    operations: float | None = None

    @property
    def ratios(self) -> list[float]:
        """Of each round."""
        return [own / plain for own, plain in zip(self.own, self.plain, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)

    @property
    def middle(self) -> tuple[float, float]:
        """Between which ratios the middle half of the rounds is."""
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """The width of the middle half, through the median."""
        low, high = self.middle
        return (high - low) / self.ratio

    @property
    def share_of_limit(self) -> float | None:
        """Operations that the own side does in matrix products, through those that large products did."""
        if self.operations is None or not self.gemm:
            return None
        return statistics.median(self.own) * self.operations / statistics.median(self.gemm)

    def refusal(self, most: float = MOST_SPREAD) -> str | None:
        """Why the figures are not to be reported, None where they are."""
        if self.spread <= most:
            return None
        return (
            f"{self.case}: the middle half of the ratios spreads over {self.spread:.0%} of their median, more than "
            f"{most:.0%}: measure on a quieter machine, with more rounds or --clock cpu."
        )

    def record(self, most: float = MOST_SPREAD) -> dict[str, Any]:
        """All for JSON; a refused result has its speeds, and no ratio."""
        speeds = {"plain": self.plain, "own": self.own, "gemm_operations_per_second": self.gemm}
        head = {"case": self.case, "unit": f"{self.unit}/s", "against": self.against, "speeds": speeds}
        if refusal := self.refusal(most):
            return {**head, "refused": refusal}
        figures = {"ratio": self.ratio, "middle": self.middle, "spread": self.spread, "ratios": self.ratios}
        return {**head, **figures, "share_of_gemm": self.share_of_limit}


def alternate(result: Result, plain: Run, own: Run, gemm: Run | None, rounds: int) -> Result:
    """Fill a result: in each round a slice of both sides, the order changing, and one of matrix products."""
    sides = [(plain, result.plain), (own, result.own)]
    for number in range(rounds):
        for run, speeds in sides if number % 2 == 0 else reversed(sides):
            speeds.append(run())
        if gemm is not None:
            result.gemm.append(gemm())
    return result
