"""Units in heads: parts of equal size that a cell keeps apart."""

from __future__ import annotations

__all__ = ["choose_heads"]

USUAL = 4


def choose_heads(hidden_size: int, heads: int | None) -> int:
    """The number of heads: what was asked for, which divides the hidden size, else 4, 2 or 1."""
    if heads is None:
        return next(number for number in (USUAL, USUAL // 2, 1) if hidden_size % number == 0)
    assert hidden_size % heads == 0
    return heads
