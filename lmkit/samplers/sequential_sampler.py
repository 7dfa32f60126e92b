"""Windows that follow each other in contiguous rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmkit.samplers.borders import Borders
from lmkit.samplers.sampler import ALL_ROWS, Sampler
from lmkit.samplers.stream import stream_rows
from lmkit.samplers.window import Window

__all__ = ["SequentialSampler"]


class SequentialSampler(Sampler):
    """Rows are contiguous parts of the stream and windows follow each other in them, so the hidden state can be
    carried.

    The rows' lengths differ by at most one; the longer ones come first. ``state="reset"`` marks every window as a new
    beginning. jitter: standard deviation of the windows' lengths (``lmkit.samplers.borders``); 0 makes all equal.
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
    ) -> None:
        super().__init__(stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed)
        self.state = state
        self.jitter = jitter
        self.row_starts, self.row_lengths, _ = stream_rows(len(stream), rows=batch_size)

    def num_windows(self, epoch: int) -> int:
        return self._borders(epoch).num_windows(int(self.row_lengths[0]))

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        borders = self._borders(number)
        starts, lengths = self.row_starts[rows], self.row_lengths[rows]
        for index in range(start, self.num_windows(number)):
            begin, end = borders.start(index), min(borders.start(index + 1), int(self.row_lengths[0]))
            reset = np.full(len(starts), index == 0 or self.state == "reset")
            yield self._cut(starts + begin, np.minimum(lengths, end) - begin, reset, end - begin)

    def _borders(self, epoch: int) -> Borders:
        return Borders(self.seed, epoch, self.window, self.jitter)
