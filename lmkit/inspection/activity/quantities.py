"""What units may follow: a number for each token of a text, as it stands after the token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lmkit.inspection.finding import Floats

__all__ = ["QUANTITIES", "inside_brackets", "inside_quotes", "position_in_line"]

OPENING, CLOSING = "([{", ")]}"


def inside_quotes(pieces: Sequence[str]) -> Floats:
    """1 inside double quotes, else 0, for tokens given as texts (T,): straight quotes in turns, curly ones by side."""
    inside = False

    def after(piece: str) -> float:
        nonlocal inside
        for character in piece:
            inside = not inside if character == '"' else character == "“" or (inside and character != "”")
        return float(inside)

    return _series(map(after, pieces))


def inside_brackets(pieces: Sequence[str]) -> Floats:
    """How many brackets of any kind are open."""
    depth = 0

    def after(piece: str) -> float:
        nonlocal depth
        for character in piece:
            depth = max(0, depth + (character in OPENING) - (character in CLOSING))
        return float(depth)

    return _series(map(after, pieces))


def position_in_line(pieces: Sequence[str]) -> Floats:
    """How many characters of its line have been read."""
    line = ""

    def after(piece: str) -> float:
        nonlocal line
        line = (line + piece).rpartition("\n")[2]
        return float(len(line))

    return _series(map(after, pieces))


def _series(values: Iterable[float]) -> Floats:
    return np.fromiter(values, dtype=np.float64)


QUANTITIES: dict[str, Callable[[Sequence[str]], Floats]] = {
    "quotes": inside_quotes,
    "brackets": inside_brackets,
    "line": position_in_line,
}
