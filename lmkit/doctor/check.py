"""Check: one thing that was looked at, what was found, and what to do about it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

__all__ = ["FAILED", "NOTE", "OK", "SKIPPED", "WARNING", "Check", "judged"]

OK, NOTE, WARNING, FAILED, SKIPPED = "ok", "note", "warning", "failed", "skipped"


@dataclass(frozen=True)
class Check:
    """What was checked and how it came out.

    status: ok, note (a figure without a judgement), warning, failed, or skipped. figure: what was found, for people.
    value: the same as one number where it is one. advice: what to do, or where exactly, one sentence each.
    """

    name: str
    status: str
    figure: str
    value: float | int | None = None
    advice: tuple[str, ...] = ()

    def figures(self) -> dict[str, Any]:
        """The check as a JSON object."""
        record = dataclasses.asdict(self)
        record["advice"] = list(self.advice)
        if self.value is not None and not math.isfinite(self.value):
            record["value"] = None
        return record


def judged(name: str, error: float, tolerance: float, unit: str, advice: str) -> Check:
    """A difference that must not exceed a tolerance; one that is not a number fails."""
    good = error <= tolerance
    figure = f"largest difference {error:.1e}{unit}, allowed {tolerance:.0e}"
    return Check(name, OK if good else FAILED, figure, error, () if good else (advice,))
