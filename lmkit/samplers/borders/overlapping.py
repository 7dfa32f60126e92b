"""Windows that overlap, so that each target has a long past to send its gradient to."""

from __future__ import annotations

from lmkit.samplers.borders.borders import Borders, Span
from lmkit.samplers.borders.moving import MovingBorders

__all__ = ["OverlappingBorders"]


class OverlappingBorders(Borders):
    """Every k1 steps a window of the last k2 steps, of which the k1 newest are predicted: BPTT(k2; k1) of Williams &
    Peng (1990).

    A row's first windows begin where it does and grow. The first has 1..k1 steps, so borders move from epoch to epoch.
    """

    def __init__(self, seed: int, epoch: int, steps: int, *, k1: int, k2: int) -> None:
        super().__init__(seed, epoch, steps)
        self.k2 = k2
        self.blocks = MovingBorders(seed, epoch, steps, window=k1)  # of steps that are predicted together

    @property
    def num_windows(self) -> int:
        return self.blocks.num_windows

    def span(self, index: int) -> Span:
        block = self.blocks.span(index)
        return Span(max(0, block.end - self.k2), block.begin, block.end)
