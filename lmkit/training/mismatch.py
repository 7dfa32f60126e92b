"""The error of values that belong to another training."""

from __future__ import annotations

__all__ = ["Mismatch"]


class Mismatch(ValueError):
    """Values of a train state that do not fit the model, the optimiser or the guard which they are loaded into."""
