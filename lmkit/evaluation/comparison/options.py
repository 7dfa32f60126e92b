"""How runs are compared: the only place where a default of it, a help text and a bound are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lmkit.fields import Section, option

__all__ = ["COMPARED", "CompareKeywords", "CompareOptions"]

LARGEST = 2**31


@dataclass(frozen=True)
class CompareOptions(Section):
    """How runs are read, and how their differences are judged."""

    block: int | None = option(
        None,
        "Consecutive tokens (bytes where tokenizers differ) of a block (default: a sixteenth of the text).",
        minimum=1,
        below=LARGEST,
    )
    resamples: int = option(10_000, "Bootstrap resamples.", minimum=100, maximum=1_000_000)
    confidence: float = option(0.95, "Confidence of the intervals.", minimum=0.5, below=1)
    seed: int = option(0, "Seed of the resamples.", minimum=0, below=LARGEST)
    rows: int = option(1, "Parallel streams; 1 is the unbroken stream.", minimum=1, below=LARGEST)
    allow_lossy: bool = option(False, "Compare different tokenizers that lose text: lower bounds.")


COMPARED = CompareOptions()


class CompareKeywords(TypedDict, total=False):
    """Fields of ``CompareOptions`` that ``lmkit.compare`` takes as keywords; a test holds the two equal."""

    block: int | None
    resamples: int
    confidence: float
    seed: int
    rows: int
    allow_lossy: bool
