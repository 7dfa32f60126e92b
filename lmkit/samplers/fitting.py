"""The rows and windows that a text has enough tokens for."""

from __future__ import annotations

__all__ = ["fitting_layout"]


def fitting_layout(num_tokens: int, sampler: str, *, rows: int, window: int) -> tuple[int, int]:
    """The rows and the window in which a text of ``num_tokens`` can be trained on: the given ones, or smaller ones."""
    if num_tokens >= (rows if sampler == "document" else rows * window):
        return rows, window
    window = min(window, max(1, num_tokens))
    return min(rows, max(1, num_tokens // window)), window
