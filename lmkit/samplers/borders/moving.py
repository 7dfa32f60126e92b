"""Windows behind each other, whose borders move from epoch to epoch."""

from __future__ import annotations

import functools

import numpy as np

from lmkit.samplers.borders.borders import Borders, Span

__all__ = ["MovingBorders", "first_window_steps", "window_lengths"]

# Nineteen quantiles of a normal distribution, rounded to whole deviations: their own deviation is 0.97
NORMAL = (-2, *[-1] * 5, *[0] * 7, *[1] * 5, 2)


class MovingBorders(Borders):
    """Windows behind each other. The first has 1..window steps, all others those of ``window_lengths``, in an order
    that is drawn anew for each round of them.
    """

    def __init__(self, seed: int, epoch: int, steps: int, *, window: int, jitter: int = 0) -> None:
        super().__init__(seed, epoch, steps)
        self.first = first_window_steps(seed, epoch, window)
        self.lengths = window_lengths(window, jitter)

    @property
    def num_windows(self) -> int:
        number, inside = divmod(max(0, self.steps - self.first), sum(self.lengths))
        return 1 + number * len(self.lengths) + sum(start < inside for start in self._round(number))

    def span(self, index: int) -> Span:
        begin = self._start(index)
        return Span(begin, begin, min(self._start(index + 1), self.steps))

    def _start(self, index: int) -> int:
        """Steps of a row that come before the window of this index."""
        if index == 0:
            return 0
        number, inside = divmod(index - 1, len(self.lengths))
        return self.first + number * sum(self.lengths) + self._round(number)[inside]

    def _round(self, number: int) -> tuple[int, ...]:
        return _round_starts(self.seed, self.epoch, number, self.lengths)


@functools.lru_cache(maxsize=64)
def first_window_steps(seed: int, epoch: int, window: int) -> int:
    """Steps of an epoch's first window: uniform on 1..window, a function of (seed, epoch)."""
    draw = int(np.random.SeedSequence([seed, epoch, 0xF1]).generate_state(1, np.uint64)[0])
    return 1 + draw % window


def window_lengths(window: int, jitter: int = 0) -> tuple[int, ...]:
    """The lengths that an epoch's windows have in each round of them: ``window`` alone, or with a jitter twenty.

    Of twenty one has half of ``window`` and nineteen are normal around it, in steps of the deviation ``jitter``. Merity
    et al. (2018, arXiv 1708.02182, section 4.1) draw each window's length from N(window, 5), and with probability 0.05
    from N(window / 2, 5). Here there are six lengths, because kernels are prepared for each, and their shares are exact
    in every round, so that any window of an epoch is found without the ones before it.
    """
    if jitter == 0:
        return (window,)
    return (max(1, window // 2), *(window + jitter * times for times in NORMAL))


@functools.lru_cache(maxsize=64)
def _round_starts(seed: int, epoch: int, number: int, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Where each window of a round begins in it."""
    keys = np.random.SeedSequence([seed, epoch, number, 0xB0]).generate_state(len(lengths), np.uint64)
    drawn = np.asarray(lengths)[np.argsort(keys, kind="stable")]
    return tuple((np.cumsum(drawn) - drawn).tolist())
