"""Where the windows of an epoch lie in its rows: one file for each way to truncate the gradient."""

from lmkit.samplers.borders.borders import Borders, MakeBorders, Span
from lmkit.samplers.borders.moving import MovingBorders, first_window_steps, window_lengths
from lmkit.samplers.borders.overlapping import OverlappingBorders
from lmkit.samplers.borders.random_cuts import RandomCuts, longest_segment
from lmkit.samplers.borders.whole import WholeRows

__all__ = [
    "Borders",
    "MakeBorders",
    "MovingBorders",
    "OverlappingBorders",
    "RandomCuts",
    "Span",
    "WholeRows",
    "first_window_steps",
    "longest_segment",
    "window_lengths",
]
