"""Windows that follow each other in contiguous rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from lmkit.samplers.borders import Borders, MakeBorders, MovingBorders
from lmkit.samplers.sampler import ALL_ROWS, Sampler
from lmkit.samplers.stream import stream_rows
from lmkit.samplers.window import IGNORE, Window

__all__ = ["SequentialSampler"]


class SequentialSampler(Sampler):
    """Rows are contiguous parts of the stream and windows follow each other in them, so the hidden state can be
    carried.

    The rows' lengths differ by at most one; the longer ones come first. ``state="reset"`` marks every window as a new
    beginning. borders: how rows are cut, by default into windows of ``window`` steps behind each other (``jitter``: the
    standard deviation of their lengths, 0 makes all equal).
    """

    def __init__(
        self,
        stream: np.ndarray,
        *,
        eos_id: int,
        batch_size: int,
        window: int,
        seed: int = 0,
        state: str = "carry",
        jitter: int = 0,
        borders: MakeBorders | None = None,
    ) -> None:
        super().__init__(stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed)
        self.state = state
        self.make_borders = borders or partial(MovingBorders, window=window, jitter=jitter)
        self.row_starts, self.row_lengths, _ = stream_rows(len(stream), rows=batch_size)

    def num_windows(self, epoch: int) -> int:
        return self._borders(epoch).num_windows

    def targets_per_window(self, epoch: int) -> float:
        return self.num_targets / self._borders(epoch).mean_windows

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        borders = self._borders(number)
        starts, lengths = self.row_starts[rows], self.row_lengths[rows]
        for index in range(start, borders.num_windows):
            span = borders.span(index)
            reset = np.full(len(starts), span.begin == 0 or self.state == "reset")
            covered = np.minimum(lengths, span.end) - span.begin
            window = self._cut(starts + span.begin, covered, reset, span.end - span.begin)
            context = span.first - span.begin
            window.targets[:, :context] = IGNORE
            last = index + 1 == borders.num_windows
            advance = (span.end if last else borders.span(index + 1).begin) - span.begin
            yield window._replace(advance=advance, context=context, borders=span.inner)

    def _borders(self, epoch: int) -> Borders:
        return self.make_borders(self.seed, epoch, int(self.row_lengths[0]))
