"""The gradient norms of a training, as its log has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.inspection.finding import Finding, Floats

__all__ = ["GradientNorms", "gradient_norms"]


@dataclass(frozen=True, eq=False)
class GradientNorms(Finding):
    """What metrics.jsonl tells of the gradients before clipping: a line is some steps of the training (20), and its
    norm the largest of them.

    steps: (N,) the last step of each line. norms: (N,) not a number where it was not finite. threshold: of the
    clipping, 0 where there is none.
    """

    steps: NDArray[np.int64]
    norms: Floats
    threshold: float

    @property
    def clipped(self) -> float:
        """Share of the lines in which at least one step was clipped."""
        if not self.threshold or not len(self.norms):
            return 0.0
        return float((~(self.norms <= self.threshold)).mean())

    def to_dict(self) -> dict[str, Any]:
        """With the share of clipped lines."""
        return {**super().to_dict(), "clipped_share_of_lines": self.clipped}


def gradient_norms(records: Iterable[Mapping[str, Any]], threshold: float) -> GradientNorms:
    """The norms of the training lines among the records of metrics.jsonl. threshold: ``max_grad_norm`` of the run."""
    lines = [record for record in records if record.get("kind") == "training"]
    norms = [value if isinstance(value := line.get("grad_norm"), (int, float)) else np.nan for line in lines]
    steps = np.array([line.get("step", 0) for line in lines], dtype=np.int64)
    return GradientNorms(steps, np.array(norms, dtype=np.float64), threshold)
