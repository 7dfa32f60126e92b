"""How large an experiment is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Scale"]

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    seeds: of the runs that count, for each arm. quick: only to see that it works, with tiny networks and a few steps;
    its verdicts are no findings. tuning_seeds: for each choice, and used for nothing else. corpus: the text that its
    user wants it on; None: the experiment's own.
    """

    seeds: int
    quick: bool = False
    tuning_seeds: int = 1
    corpus: str | None = None

    def pick(self, full: T, quick: T) -> T:
        """The first, or the second in a quick experiment."""
        return quick if self.quick else full

    def as_dict(self) -> dict[str, Any]:
        """What must be equal for results to go together: all but the number of seeds, which may grow."""
        return {"quick": self.quick, "tuning_seeds": self.tuning_seeds, "corpus": self.corpus}
