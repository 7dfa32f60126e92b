"""One run of an arm, as ``measure`` gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.experiments.contract.arm import Arm, Choice
from lmkit.experiments.contract.interruption import Interruption
from lmkit.experiments.contract.scale import Scale

__all__ = ["Trial"]


@dataclass(frozen=True)
class Trial:
    """One run of an arm.

    seed: of everything random in it. choice: of the arm's choices. tuning: whether it only serves to choose. folder:
    the run's own, where an interrupted one may have left something; shared: that of all runs, for texts. interruption:
    to be checked between steps that take long.
    """

    arm: Arm
    choice: Choice
    seed: int
    scale: Scale
    folder: Path
    shared: Path
    tuning: bool = False
    interruption: Interruption = field(default_factory=Interruption)

    @property
    def options(self) -> Mapping[str, Any]:
        """The arm's options with the choice's."""
        return {**self.arm.options, **self.choice}
