"""How classifiers are measured: the only place where a default of it, a help text and a bound are written."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.fields import Section, option

__all__ = ["MEASURED", "ClassifierOptions"]


@dataclass(frozen=True)
class ClassifierOptions(Section):
    """How a classifier is measured and compared."""

    bins: int = option(10, "Bins of equally many texts for the calibration.", minimum=1, maximum=1000)
    worst: int = option(5, "Most wrong texts to show.", minimum=0, maximum=1_000_000)
    confidence: float = option(0.95, "Confidence of the intervals.", minimum=0.5, below=1)


MEASURED = ClassifierOptions()
