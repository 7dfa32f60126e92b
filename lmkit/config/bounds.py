"""Bounds that several options share."""

from __future__ import annotations

__all__ = ["MAX_SPAN", "MAX_WIDTH"]

MAX_WIDTH = 65536  # a network wider than this fits no machine that lmkit runs on
MAX_SPAN = 2**20  # positions: their keys and values take gigabytes
