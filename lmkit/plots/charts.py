"""What a chart shows, as values: lines, bars, a heat map, a histogram. ``render`` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Bars", "Chart", "HeatMap", "Histogram", "Line", "Lines", "Mark", "Series"]

Numbers = Sequence[float]


@dataclass(frozen=True)
class Mark:
    """A straight line across a chart at a value, such as chance or a known entropy."""

    name: str
    value: float


@dataclass(frozen=True)
class Line:
    """A curve through (x, y); low and high, where they are given, are the ends of an interval at each x."""

    name: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None


@dataclass(frozen=True)
class Lines:
    """Curves over one axis, each named at its end. log_x, log_y: axes of equal ratios."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Bar:
    """A value with the ends of its interval, if it has any. group: bars of one group have one colour."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    group: str = ""


@dataclass(frozen=True)
class Bars:
    """Values beside each other, as points with intervals, so that the axis need not begin at zero."""

    title: str
    label: str
    bars: Sequence[Bar]
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class HeatMap:
    """A table of numbers as colours: ``values`` has a row for each of ``rows`` and a column for each of ``columns``.

    diverging: zero is the middle of the colours. None stands for no value.
    """

    title: str
    x_label: str
    y_label: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float | None]]
    label: str = ""
    diverging: bool = False


@dataclass(frozen=True)
class Series:
    """The counts of one histogram: one fewer than there are edges."""

    name: str
    counts: Numbers


@dataclass(frozen=True)
class Histogram:
    """Counts between ``edges``, of one or several series, each drawn as an outline."""

    title: str
    x_label: str
    y_label: str
    edges: Numbers
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False


Chart = Lines | Bars | HeatMap | Histogram
