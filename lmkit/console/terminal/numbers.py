"""Numbers and curves as short texts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a progress line is there before torch is loaded
    from lmkit.evaluation.measurement import Measurement

__all__ = [
    "counted",
    "duration",
    "joined",
    "learning_rate",
    "number",
    "printable",
    "rounded",
    "rows_of",
    "size",
    "sparkline",
]

HUGE = 1e9
BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of block characters; more than ``width`` values are thinned evenly."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    if len(finite) > width:
        finite = [finite[round(index * (len(finite) - 1) / (width - 1))] for index in range(width)]
    low, high = min(finite), max(finite)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in finite)


def rows_of(measurement: Measurement) -> str:
    if measurement.rows == 1:
        return {"carry": "one stream", "reset": f"one row, window {measurement.window}"}.get(
            measurement.state, "one row"
        )
    warmup = f" with a warm-up of {measurement.warmup}" if measurement.warmup else ""
    seams = counted(measurement.evaluation.seams_repaired, "seam")
    return f"{measurement.rows} rows{warmup}" + (f", {seams} repaired" if measurement.state == "carry" else "")


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters other than tab and line feed are replaced."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf") else "\ufffd" for c in text)


def counted(count: int, thing: str) -> str:
    """``1 step``, ``2,000 steps``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def number(value: float | None) -> str:
    """Four decimals; from a thousand million on ``8.3e15``; ``-`` for what there is none of."""
    if value is None:
        return "-"
    return f"{value:,.4f}" if abs(value) < HUGE else _short(value)


def rounded(value: float) -> str:
    """A perplexity in four digits, as people write them: ``6.689``, ``318.2``, ``48,040``."""
    if not abs(value) < HUGE:
        return _short(value)
    return f"{value:,.0f}" if value >= 999.95 else f"{value:#.4g}"


def _short(value: float) -> str:
    return f"{value:.4g}".replace("e+", "e")


def learning_rate(value: float) -> str:
    """Three digits and never an exponent: ``20``, ``0.003``, ``0.0000294``."""
    return f"{Decimal(f'{value:.3g}'):f}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, rest = divmod(math.floor(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(size: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"
