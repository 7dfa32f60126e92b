"""Samplers, state policies and styles of truncation: what goes with what."""

from __future__ import annotations

from typing import Any

__all__ = ["JITTER_REACH", "OF_WINDOWS", "SAMPLER_STATES", "TRUNCATIONS", "TRUNCATION_PAIRS"]

JITTER_REACH = 2  # deviations that a window may be longer or shorter
# How the gradient is truncated, with the options of each style and their defaults; None: they follow from --window.
TRUNCATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "fixed": {},
    "k1k2": {"k1": None, "k2": None},
    "random": {},
    "artbp": {"artbp_cut": 0.25, "artbp_chunk": None},
}
SAMPLER_STATES = {"sequential": ("carry", "reset"), "random": ("reset",), "document": ("document",)}
# The pairs of sampler and state that a style of truncation needs; `fixed` serves all.
TRUNCATION_PAIRS = {
    "none": (("sequential", "carry"), ("document", "document")),
    "k1k2": (("sequential", "carry"),),
    "random": (("sequential", "carry"), ("sequential", "reset")),
    "artbp": (("sequential", "carry"),),
}
OF_WINDOWS = ("fixed", "random")  # styles whose windows have about --window steps and follow each other
