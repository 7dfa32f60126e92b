"""A value with the ends of its confidence interval."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

__all__ = ["Interval"]


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its confidence interval; None where too few draws hold anything of it."""

    value: float
    low: float | None
    high: float | None

    def shown(self, form: str) -> str:
        """The value and its interval as text, each number in this form."""
        if self.low is None or self.high is None:
            return f"{self.value:{form}}"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def map(self, scale: float) -> Interval:
        """The same in another unit."""
        ends = (None if end is None else end * scale for end in (self.low, self.high))
        low, high = ends if scale >= 0 else reversed(tuple(ends))
        return Interval(self.value * scale, low, high)

    def exp(self) -> Interval:
        """From nats per token to perplexity, or from a difference to a ratio of perplexities."""
        value, low, high = (None if end is None else math.exp(min(end, 709)) for end in dataclasses.astuple(self))
        assert value is not None
        return Interval(value, low, high)
