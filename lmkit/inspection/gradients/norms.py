"""The gradient norms of a training, as its log has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.inspection.finding import Finding, Floats, plain

__all__ = ["GradientNorms", "gradient_norms"]


@dataclass(frozen=True, eq=False)
class GradientNorms(Finding):
    """What metrics.jsonl tells of the gradients before clipping: a line is some steps of the training (20), and its
    norm the largest of them.

    steps: (N,) the last step of each line. norms: (N,) not a number where it was not finite. clipped_steps: (N,) how
    many of the line's steps were clipped, not a number in lines of early versions. threshold: of the clipping, 0 where
    there is none.
    """

    steps: NDArray[np.int64]
    norms: Floats
    clipped_steps: Floats
    threshold: float

    @property
    def clipped(self) -> float:
        """Share of the lines in which at least one step was clipped."""
        if not self.threshold or not len(self.norms):
            return 0.0
        return float((~(self.norms <= self.threshold)).mean())

    @property
    def clipped_share(self) -> float:
        """Share of the steps that were clipped, in the lines that say how many; not a number where none does."""
        known = np.isfinite(self.clipped_steps)
        steps = np.diff(self.steps, prepend=0)[known].sum()
        return float(self.clipped_steps[known].sum() / steps) if steps else math.nan

    def to_dict(self) -> dict[str, Any]:
        """With the shares of clipped lines and steps."""
        shares = {"clipped_share_of_lines": self.clipped, "clipped_share_of_steps": plain(self.clipped_share)}
        return {**super().to_dict(), **shares}


def gradient_norms(records: Iterable[Mapping[str, Any]], threshold: float) -> GradientNorms:
    """The norms of the training lines among the records of metrics.jsonl. threshold: ``max_grad_norm`` of the run."""
    lines = [record for record in records if record.get("kind") == "training"]
    steps = np.array([line.get("step", 0) for line in lines], dtype=np.int64)
    return GradientNorms(steps, _numbers(lines, "grad_norm"), _numbers(lines, "clipped"), threshold)


def _numbers(lines: Sequence[Mapping[str, Any]], name: str) -> Floats:
    found = [value if isinstance(value := line.get(name), (int, float)) else np.nan for line in lines]
    return np.array(found, dtype=np.float64)
