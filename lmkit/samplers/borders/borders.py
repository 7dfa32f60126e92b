"""What all ways to cut rows into windows have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Borders", "MakeBorders", "Span"]


class Span(NamedTuple):
    """Steps of a row that a window covers: it reads those from ``begin`` to ``end`` and predicts from ``first`` on.
    inner: borders at which it is not cut, counted from ``begin``.
    """

    begin: int
    first: int
    end: int
    inner: tuple[int, ...] = ()


class Borders(ABC):
    """The windows of one epoch in rows of ``steps``: a function of (seed, epoch, index), found at once however far.

    Every step is predicted in one window. A window that begins where its row does begins from the initial state, any
    other from the state that its row had there in the window before.
    """

    def __init__(self, seed: int, epoch: int, steps: int) -> None:
        self.seed, self.epoch, self.steps = seed, epoch, steps

    @property
    @abstractmethod
    def num_windows(self) -> int:
        """Windows of the epoch."""

    @property
    def mean_windows(self) -> float:
        """Windows that such an epoch has in the mean over seeds, where their number is drawn."""
        return self.num_windows

    @abstractmethod
    def span(self, index: int) -> Span:
        """The steps of the window of this index."""


MakeBorders = Callable[[int, int, int], Borders]  # of (seed, epoch, steps)
