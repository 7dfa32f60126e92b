"""A chart that draws itself, in a notebook or into a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lmkit.files import write_atomically
from lmkit.plots.charts import Chart
from lmkit.plots.render import can_render, render

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """A chart as a picture: the last value of a notebook's cell is drawn below it.

    Without matplotlib (``pip install matplotlib``) only its title is shown.
    """

    chart: Chart

    @property
    def svg(self) -> str:
        """The picture as SVG. Raises ConfigError without matplotlib."""
        return render(self.chart).decode("utf-8")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as an SVG file. Raises ConfigError without matplotlib, FailedError if the disk refuses."""
        write_atomically(Path(path), self.svg)

    def __repr__(self) -> str:
        return f"Picture({self.chart.title!r})"

    def _repr_svg_(self) -> str | None:
        """What a notebook shows."""
        return render(self.chart, outlines=False).decode("utf-8") if can_render() else None
