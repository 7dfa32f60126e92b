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

    status: ok, note (a finding without a judgement), warning, failed, or skipped. finding: what was found, for people.
    value: the same as one number where it is one. advice: what to do, or where exactly, one sentence each.
    """

    name: str
    status: str
    finding: str
    value: float | int | None = None
    advice: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The check as a JSON object."""
        record = dataclasses.asdict(self)
        record["figure"] = record.pop("finding")  # the key's name since the first version
        record["advice"] = list(self.advice)
        if self.value is not None and not math.isfinite(self.value):
            record["value"] = None
        return record


def judged(name: str, error: float, tolerance: float, unit: str, advice: str) -> Check:
    """A difference that must not exceed a tolerance; one that is not a number fails."""
    good = error <= tolerance
    finding = f"largest difference {error:.1e}{unit}, allowed {tolerance:.0e}"
    return Check(name, OK if good else FAILED, finding, error, () if good else (advice,))
