"""Charts to SVG through matplotlib, which is imported when a chart is drawn. The same chart gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lmkit.errors import ConfigError, FailedError
from lmkit.plots.charts import Bars, Chart, HeatMap, Histogram, Lines, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MISSING", "can_render", "render"]

MISSING = "Pictures need matplotlib: pip install matplotlib."
BROKEN = "matplotlib cannot be imported, so there are no pictures: pip install --force-reinstall matplotlib"
# Okabe & Ito's colours ("Color Universal Design", 2008), which people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":")  # a second difference where there are more lines than colours
SIZE = (9.0, 5.0)  # inches: the shape of a slide
STYLE: dict[str, Any] = {
    "svg.hashsalt": "lmkit",
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "lines.linewidth": 2.2,
}
GAP = 0.055  # of the height: between two names at the ends of lines
MOST_TICKS = 8  # places on a logarithmic axis that are all named
MOST_NUMBERS = 150  # cells of a heat map that still show their number


def can_render() -> bool:
    """Whether matplotlib is there."""
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def render(chart: Chart, *, outlines: bool = True) -> bytes:
    """A chart as SVG. outlines: letters as shapes, the same everywhere; else as text, in a third of the bytes and in a
    font that the reader has. Raises ConfigError without matplotlib, FailedError where it is there and broken.
    """
    if not can_render():
        raise ConfigError(MISSING)
    try:
        return _drawn(chart, outlines=outlines)
    except ImportError as error:  # it imports some of its parts only when they draw
        raise FailedError(f"{BROKEN} ({error}).") from error


def _drawn(chart: Chart, *, outlines: bool) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {**matplotlib.rcParamsDefault}  # whatever the user's own style is
    letters = {"svg.fonttype": "path" if outlines else "none"}
    with matplotlib.rc_context(style | STYLE | letters):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(chart.title)
        DRAWN[type(chart)](axes, chart)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()


def _lines(axes: Axes, chart: Lines) -> None:
    _scales(axes, chart.log_x, chart.log_y)
    places = sorted({float(x) for line in chart.lines for x in line.x})
    if chart.log_x and 1 < len(places) <= MOST_TICKS:
        axes.set_xticks(places, [f"{place:,g}" if place < 1e6 else f"{place:,.0f}" for place in places])
        axes.minorticks_off()
    for number, line in enumerate(chart.lines):
        look = _look(number)
        dots = "o" if len(line.x) <= 12 else None
        axes.plot(line.x, line.y, marker=dots, **look)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=look["color"], alpha=0.18, linewidth=0)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    _marks(axes, chart.marks, axes.axhline)
    ends = [(line.name, float(line.x[-1]), float(line.y[-1])) for line in chart.lines if len(line.x)]
    _name_ends(axes, ends)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float, float]]) -> None:
    """Write the names right of the lines' ends, moved apart where they would lie on each other."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    finite = [(name, x, y) for name, x, y in ends if math.isfinite(y)]
    heights = [float(to_axes.transform((x, y))[1]) for _, x, y in finite]
    order = sorted(range(len(finite)), key=lambda number: heights[number])
    numbers = {name: number for number, (name, _, _) in enumerate(ends)}
    for number, height in zip(order, _spread([heights[number] for number in order]), strict=True):
        name = finite[number][0]
        colour = _look(numbers[name])["color"]
        axes.annotate(
            name, (1.0, height), (8, 0), "axes fraction", textcoords="offset points", color=colour, va="center"
        )


def _spread(heights: Sequence[float]) -> list[float]:
    """Ascending heights, moved up and then down as little as it takes to be ``GAP`` apart and inside."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + GAP) if placed else max(height, 0.0))
    overhang = placed[-1] - max(1.0, GAP * (len(placed) - 1)) if placed else 0.0
    if overhang > 0:
        ceiling = placed[-1] - overhang
        for index in reversed(range(len(placed))):
            placed[index] = min(placed[index], ceiling)
            ceiling = placed[index] - GAP
    return placed


def _bars(axes: Axes, chart: Bars) -> None:
    groups = list(dict.fromkeys(bar.group for bar in chart.bars))
    for place, bar in enumerate(chart.bars):
        colour = COLOURS[groups.index(bar.group) % len(COLOURS)]
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color=colour, alpha=0.45, linewidth=7, solid_capstyle="butt")
        axes.plot([bar.value], [place], marker="o", markersize=9, color=colour, linestyle="none")
    axes.set_yticks(range(len(chart.bars)), [bar.name for bar in chart.bars])
    axes.invert_yaxis()
    axes.margins(y=max(0.05, 0.5 / max(1, len(chart.bars))))
    axes.set_xlabel(chart.label)
    _marks(axes, chart.marks, axes.axvline)
    named = [group for group in groups if group]
    if len(named) > 1:
        shapes = [
            axes.plot([], [], color=COLOURS[groups.index(group) % len(COLOURS)], marker="o")[0] for group in named
        ]
        _legend(axes, shapes, named)


def _heat_map(axes: Axes, chart: HeatMap) -> None:
    values = [[math.nan if value is None else value for value in row] for row in chart.values]
    flat = [value for row in values for value in row if math.isfinite(value)]
    how: dict[str, Any] = {"cmap": "viridis"}
    if chart.diverging and flat:
        reach = max(map(abs, flat)) or 1.0
        how = {"cmap": "PuOr", "vmin": -reach, "vmax": reach}
    image = axes.imshow(values, aspect="auto", interpolation="nearest", **how)
    axes.grid(visible=False)
    axes.set_xticks(*_ticks(chart.columns))
    axes.set_yticks(*_ticks(chart.rows))
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    bar = axes.figure.colorbar(image, ax=axes)
    bar.set_label(chart.label)
    if len(flat) <= MOST_NUMBERS:
        _write_numbers(axes, values, image)


def _write_numbers(axes: Axes, values: Sequence[Sequence[float]], image: Any) -> None:
    """Each value in its cell, in black or white, whichever is further from the cell's colour."""
    for row, entries in enumerate(values):
        for column, value in enumerate(entries):
            if math.isfinite(value):
                red, green, blue, _ = image.cmap(image.norm(value))
                ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=ink, fontsize=10)


def _ticks(names: Sequence[str], most: int = 24) -> tuple[list[int], list[str]]:
    """Places and names, every n-th where there are too many to read."""
    every = max(1, math.ceil(len(names) / most))
    return list(range(0, len(names), every)), list(names[::every])


def _histogram(axes: Axes, chart: Histogram) -> None:
    _scales(axes, chart.log_x, chart.log_y)
    for number, series in enumerate(chart.series):
        look = _look(number)
        axes.stairs(series.counts, chart.edges, label=series.name, linewidth=2.2, **look)
        axes.stairs(series.counts, chart.edges, fill=True, alpha=0.12, color=look["color"])
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    if len(chart.series) > 1:
        _legend(axes, *axes.get_legend_handles_labels())


def _scales(axes: Axes, log_x: bool, log_y: bool) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    if log_x:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if log_y:
        axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes, shapes: Sequence[Any], names: Sequence[str]) -> None:
    """Names beside the axes, where they hide nothing."""
    axes.figure.legend(shapes, names, loc="outside lower right", ncols=len(names), frameon=False)


def _marks(axes: Axes, marks: Sequence[Mark], draw: Callable[..., Any]) -> None:
    for number, mark in enumerate(marks):
        draw(mark.value, color="#666666", linestyle=":", linewidth=1.6, zorder=1)
        if draw == axes.axhline:
            axes.annotate(
                mark.name, (0.01, mark.value), (0, 4), ("axes fraction", "data"), "offset points", color="#444444"
            )
        else:
            axes.annotate(
                mark.name,
                (mark.value, 0.99),
                (4, -16 * number),  # names of neighbours one below the other
                ("data", "axes fraction"),
                "offset points",
                color="#444444",
                va="top",
            )


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }


DRAWN: dict[type, Callable[[Axes, Any], None]] = {
    Lines: _lines,
    Bars: _bars,
    HeatMap: _heat_map,
    Histogram: _histogram,
}
