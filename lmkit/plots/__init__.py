"""Pictures: what a chart shows as values, and one way to draw it, as SVG.

``Picture(Lines(title, x_label, y_label, [Line(name, x, y)]))`` draws itself in a notebook.
"""

from lmkit.plots.charts import Bar, Bars, Chart, HeatMap, Histogram, Line, Lines, Mark, Series
from lmkit.plots.picture import Picture

__all__ = [
    "Bar",
    "Bars",
    "Chart",
    "HeatMap",
    "Histogram",
    "Line",
    "Lines",
    "Mark",
    "Picture",
    "Series",
]
