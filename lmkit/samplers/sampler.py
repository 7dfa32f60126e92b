"""What a sampler is: a pure function from (seed, epoch, index) to windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from lmkit.errors import DataError
from lmkit.samplers.window import Window, cut_window

__all__ = ["ALL_ROWS", "Sampler"]

ALL_ROWS = slice(None)


class Sampler(ABC):
    """Cuts a stream into windows.

    stream: (N,) token ids of any integer type, usually a memory-mapped file. eos_id: what is read before the first
    token. batch_size, window: rows and longest steps of a window. Memory is constant in N, and a process computes
    only its own rows.
    """

    def __init__(self, stream: np.ndarray, *, eos_id: int, batch_size: int, window: int, seed: int = 0) -> None:
        if len(stream) < batch_size:
            raise DataError(
                f"A text of {len(stream):,} tokens is too short for {batch_size:,} rows: "
                f"use --batch-size {max(1, len(stream))} or less."
            )
        self.stream = stream
        self.eos_id = eos_id
        self.batch_size = batch_size
        self.window = window
        self.seed = seed

    @property
    def num_targets(self) -> int:
        """Targets of an epoch: as many as the stream has tokens."""
        return len(self.stream)

    @abstractmethod
    def num_windows(self, epoch: int) -> int:
        """Windows of an epoch (a whole pass over the documents where their lengths decide it)."""

    def targets_per_window(self, epoch: int) -> float:
        """Mean targets in a window of an epoch; where the number of windows is drawn, in the mean over seeds."""
        return self.num_targets / self.num_windows(epoch)

    @abstractmethod
    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        """The windows of an epoch from index ``start`` on, for some of the rows."""

    def _cut(self, starts: np.ndarray, lengths: np.ndarray, reset: np.ndarray, steps: int) -> Window:
        return cut_window(self.stream, self.eos_id, starts, lengths, reset, steps)
