"""Rows of a stream, and its windows for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from lmkit.errors import ConfigError, DataError
from lmkit.samplers.window import IGNORE, Window, cut_window

__all__ = ["StreamRows", "check_layout", "stream_rows", "stream_windows"]


def check_layout(*, rows: int, window: int, warmup: int = 0) -> None:
    """Raise ConfigError where windows cannot be cut so."""
    for name, value, least in (("rows", rows, 1), ("window", window, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ConfigError(f"--{name} must be at least {least}, not {value}.")


class StreamRows(NamedTuple):
    """How a stream is cut into R contiguous rows, (R,) each: the position of a row's first target, how many it has, and
    how many tokens before them it reads as its warm-up.
    """

    starts: np.ndarray
    lengths: np.ndarray
    heads: np.ndarray


def stream_rows(num_tokens: int, *, rows: int, warmup: int = 0) -> StreamRows:
    """At most ``rows`` rows, no two of which differ by more than one target; the longer ones come first."""
    rows = min(rows, num_tokens)
    short, longer = divmod(num_tokens, rows)
    lengths = short + (np.arange(rows) < longer)
    starts = np.cumsum(lengths) - lengths
    return StreamRows(starts, lengths, np.minimum(starts, warmup))


def stream_windows(
    stream: np.ndarray, *, eos_id: int, window: int, rows: int = 1, warmup: int = 0, state: str = "carry"
) -> Iterator[Window]:
    """Windows for evaluation: ``rows`` contiguous rows, each first reading ``<eos>`` and up to ``warmup`` tokens before
    it without predicting them; without a warm-up its first input is the token before it.

    Every token of the stream is a target exactly once whatever the arguments are; one row is the stream itself. With
    ``state="reset"`` each window starts from a state of zero and there is no warm-up. Raises DataError for an empty
    stream.
    """
    if state not in ("carry", "reset"):
        raise ConfigError(f"The state policy of a stream is carry or reset, not {state!r}.")
    check_layout(rows=rows, window=window, warmup=warmup)
    if len(stream) == 0:
        raise DataError("There is no token to evaluate: the text is empty.")
    starts, lengths, heads = stream_rows(len(stream), rows=rows, warmup=warmup if state == "carry" else 0)
    begins, lengths = starts - heads, lengths + heads
    for begin in range(0, int(lengths.max()), window):
        steps = min(window, int(lengths.max()) - begin)
        reset = np.full(len(begins), begin == 0 or state == "reset")
        block = cut_window(stream, eos_id, begins + begin, np.clip(lengths - begin, 0, steps), reset, steps)
        if begin == 0:  # a state of zero and <eos> is a beginning that every model was trained on
            block.inputs[torch.from_numpy(heads > 0), 0] = eos_id
        warming = torch.from_numpy(begin + np.arange(steps) < heads[:, None])
        yield block._replace(targets=block.targets.masked_fill(warming, IGNORE))
