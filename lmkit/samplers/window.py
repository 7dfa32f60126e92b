"""What all samplers give: a window, cut out of a stream of tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.model.head import IGNORE
from lmkit.model.marks import Marks

__all__ = ["IGNORE", "Window", "cut_window"]


class Window(NamedTuple):
    """One minibatch: what is read, what is to be predicted, and which rows start afresh.

    inputs: (B, T) int64 token ids. targets: (B, T) int64, IGNORE where nothing is to be predicted. reset: (B,) bool,
    rows whose state is zero before the first step of this window. advance: the next window of a row starts this many
    steps later. context: steps at the beginning that no row predicts at. borders: steps before which the gradient into
    the state is made larger, because rows are cut at other such borders.
    """

    inputs: Tensor
    targets: Tensor
    reset: Tensor
    advance: int
    context: int = 0
    borders: tuple[int, ...] = ()

    @property
    def marks(self) -> Marks:
        """What a loss must know of the window's steps, PLAIN where there is nothing."""
        steps = self.inputs.shape[1]
        return Marks(self.context, None if self.advance == steps else self.advance, self.borders)


def cut_window(
    stream: np.ndarray, eos_id: int, starts: np.ndarray, lengths: np.ndarray, reset: np.ndarray, steps: int
) -> Window:
    """A window whose row r covers the targets starts[r] .. starts[r] + lengths[r] of a stream, padded to ``steps``."""
    inputs = np.full((len(starts), steps), eos_id, dtype=np.int64)
    targets = np.full((len(starts), steps), IGNORE, dtype=np.int64)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        if length > 0:
            targets[row, :length] = stream[start : start + length]
            inputs[row, 1:length] = targets[row, : length - 1]
            inputs[row, 0] = stream[start - 1] if start > 0 else eos_id
    return Window(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(reset), steps)
