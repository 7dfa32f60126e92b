"""A case: two sides that do the same work, and what they are measured in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[], float]  # does a little of the work, and says how much that was


@dataclass(frozen=True)
class Settings:
    """What a side is made for. ``tiny``: sizes for a test, whose figures mean nothing. ``corpus``: a text for the cases
    that read one; ``folder``: where a side may write.
    """

    threads: int = 1
    tiny: bool = False
    corpus: str | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Case:
    """``plain`` and ``own`` make the two sides; a ratio is the speed of ``own`` through that of ``plain``.

    ``against`` names the plain side; ``alike``: it is lmkit, too, and set up like the other. ``operations``:
    floating-point operations in matrix products for a unit of work, None where the work is of another kind.
    """

    name: str
    unit: str
    against: str
    plain: Callable[[Settings], Step]
    own: Callable[[Settings], Step]
    operations: float | None = None
    alike: bool = False

    def side(self, name: str, settings: Settings) -> Step:
        """One of the sides, ready to work."""
        return {"plain": self.plain, "own": self.own}[name](settings)
