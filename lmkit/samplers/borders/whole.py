"""Rows that are not cut."""

from __future__ import annotations

from lmkit.samplers.borders.borders import Borders, Span

__all__ = ["WholeRows"]


class WholeRows(Borders):
    """One window, which is the row: back-propagation through time without truncation."""

    @property
    def num_windows(self) -> int:
        return 1

    def span(self, index: int) -> Span:
        return Span(0, 0, self.steps)
