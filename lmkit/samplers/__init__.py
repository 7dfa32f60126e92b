"""Minibatch samplers: they cut a stream of tokens into windows, and are pure functions of (seed, epoch, index).

Target i of a stream is ``stream[i]`` and its input ``stream[i - 1]``, with ``<eos>`` before the first: N tokens give
N targets, and every one of them comes exactly once an epoch. In epoch e the first window has 1..window steps, drawn
from (seed, e), so borders move from epoch to epoch and no target is lost.
"""

from lmkit.samplers.borders import (
    MakeBorders,
    OverlappingBorders,
    RandomCuts,
    WholeRows,
    first_window_steps,
    longest_segment,
    window_lengths,
)
from lmkit.samplers.document_sampler import DocumentSampler
from lmkit.samplers.fitting import fitting_layout
from lmkit.samplers.labelled_sampler import LabelledSampler
from lmkit.samplers.random_sampler import RandomSampler
from lmkit.samplers.sampler import Sampler
from lmkit.samplers.sequential_sampler import SequentialSampler
from lmkit.samplers.shuffle import Shuffle
from lmkit.samplers.state_dropping import StateDropping
from lmkit.samplers.stream import StreamRows, check_layout, stream_rows, stream_windows
from lmkit.samplers.window import IGNORE, Window

__all__ = [
    "IGNORE",
    "SAMPLERS",
    "DocumentSampler",
    "LabelledSampler",
    "MakeBorders",
    "OverlappingBorders",
    "RandomCuts",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Shuffle",
    "StateDropping",
    "StreamRows",
    "WholeRows",
    "Window",
    "check_layout",
    "first_window_steps",
    "fitting_layout",
    "longest_segment",
    "stream_rows",
    "stream_windows",
    "window_lengths",
]

SAMPLERS: dict[str, type[Sampler]] = {
    "sequential": SequentialSampler,
    "random": RandomSampler,
    "document": DocumentSampler,
}
