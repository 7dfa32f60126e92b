"""Windows in random order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from lmkit.samplers.borders import first_window_steps
from lmkit.samplers.sampler import ALL_ROWS, Sampler
from lmkit.samplers.shuffle import Shuffle
from lmkit.samplers.window import IGNORE, Window

__all__ = ["RandomSampler"]


class RandomSampler(Sampler):
    """Windows of the stream in random order, each from a state of zero.

    The order is a keyed bijection, computed and not stored. The last batch may have rows without targets. burn_in:
    tokens before a window, as far as there are any, that it reads first and does not predict.
    """

    def __init__(
        self, stream: np.ndarray, *, eos_id: int, batch_size: int, window: int, seed: int = 0, burn_in: int = 0
    ) -> None:
        super().__init__(stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed)
        self.burn_in = burn_in

    def num_windows(self, epoch: int) -> int:
        return -(-self._num_pieces(epoch) // self.batch_size)

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        first = first_window_steps(self.seed, number, self.window)
        pieces = self._num_pieces(number)
        shuffle = Shuffle(pieces, self.seed, number)
        for index in range(start, self.num_windows(number)):
            ranks = index * self.batch_size + np.arange(self.batch_size)[rows]
            chosen = np.array([shuffle(rank) if rank < pieces else 0 for rank in ranks.tolist()], dtype=np.int64)
            starts = np.where(chosen == 0, 0, first + (chosen - 1) * self.window)
            ends = np.minimum(first + chosen * self.window, len(self.stream))
            lengths = np.where(ranks < pieces, ends - starts, 0)
            yield self._window(starts, lengths)

    def _window(self, starts: np.ndarray, lengths: np.ndarray) -> Window:
        """Pieces with their burn-in, which a piece near the beginning of the stream has less of."""
        heads = np.where(lengths > 0, np.minimum(starts, self.burn_in), 0)
        steps = self.burn_in + self.window
        window = self._cut(starts - heads, heads + lengths, np.ones(len(starts), dtype=bool), steps)
        reading = torch.from_numpy(np.arange(steps) < heads[:, None])
        return window._replace(targets=window.targets.masked_fill(reading, IGNORE))

    def _num_pieces(self, epoch: int) -> int:
        first = first_window_steps(self.seed, epoch, self.window)
        return 1 + -(-max(0, len(self.stream) - first) // self.window)
