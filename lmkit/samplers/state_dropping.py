"""Rows that begin from their initial state now and then."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lmkit.samplers.sampler import ALL_ROWS, Sampler
from lmkit.samplers.window import Window

__all__ = ["StateDropping"]


class StateDropping(Sampler):
    """The windows of another sampler; before each of them every row returns to its initial state with a probability.

    As ``drop_state_probability`` of lamb, the code of Melis, Kocisky & Blunsom (2020, arXiv 1909.01792): a state that
    is always carried shows a model no beginning but the first. What a row reads stays the same. The draws are keyed
    by (seed, epoch, index).
    """

    def __init__(self, sampler: Sampler, probability: float) -> None:
        super().__init__(
            sampler.stream,
            eos_id=sampler.eos_id,
            batch_size=sampler.batch_size,
            window=sampler.window,
            seed=sampler.seed,
        )
        self.sampler = sampler
        self.probability = probability

    def num_windows(self, epoch: int) -> int:
        return self.sampler.num_windows(epoch)

    def targets_per_window(self, epoch: int) -> float:
        return self.sampler.targets_per_window(epoch)

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        for index, window in enumerate(self.sampler.epoch(number, start, rows), start):
            yield window._replace(reset=window.reset | self._dropped(number, index)[rows])

    def _dropped(self, epoch: int, index: int) -> Tensor:
        """Which rows of all return: (B,) bool."""
        draws = np.random.SeedSequence([self.seed, epoch, index, 0xD5]).generate_state(self.batch_size, np.uint64)
        return torch.from_numpy(draws < np.uint64(self.probability * 2**64))
