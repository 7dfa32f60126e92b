"""Steps of a window at which something happens to its state or its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lmkit.model.state import State

__all__ = ["PLAIN", "Marks"]


class Marks(NamedTuple):
    """Steps of a window that mean something.

    context: how many at the beginning are read and not predicted. advance: after how many the state is handed on, None
    for all. borders: those before which the gradient into the state is scaled up.
    """

    context: int = 0
    advance: int | None = None
    borders: tuple[int, ...] = ()

    def pieces(self, steps: int) -> list[int]:
        """Steps of the pieces that a window is computed in, one after the other."""
        ends = self._ends(steps)
        return [end - begin for begin, end in zip((0, *ends), ends, strict=False)]

    def handed_on(self, before: State, after: Sequence[State], steps: int) -> State:
        """The state that goes on, of the one before the window and those after its pieces."""
        advance = steps if self.advance is None else self.advance
        return after[self._ends(steps).index(advance)] if advance else before

    def _ends(self, steps: int) -> list[int]:
        advance = () if self.advance is None else (self.advance,)
        return sorted({*self.borders, *advance, steps} - {0})


PLAIN = Marks()  # all is predicted in one piece, and the state after it is handed on
