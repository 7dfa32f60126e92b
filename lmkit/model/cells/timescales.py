"""Timescales: how long the parts of a network remember when it starts."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decays", "forget_biases"]

SLOWEST_BIAS = 6.0
FASTEST_BIAS = {"wide": -2.0, "paper": 3.0}
ONLY_BIAS = {"wide": 2.0, "paper": 3.0}
SLOWEST_DECAY = 0.999
FASTEST_DECAY = {"wide": 0.1, "paper": 0.9}


def forget_biases(timescales: str, number: int) -> Tensor:
    """Biases of forget gates, (number,), evenly from the fastest to the slowest.

    ``paper``: from 3 to 6, so that no gate lets go of more than 5 % at a step (Beck et al. 2024, arXiv 2405.04517). As
    a bare layer such a cell is a mean over tens of steps that hardly tells the last one. ``wide``: from -2, 88 %; a
    single gate between the two.
    """
    if number == 1:
        return torch.tensor([ONLY_BIAS[timescales]])
    return torch.linspace(FASTEST_BIAS[timescales], SLOWEST_BIAS, number)


def decays(timescales: str, number: int) -> Tensor:
    """Factors of elementwise memories at a step, (number,), uniform between the fastest and the slowest.

    ``paper``: between 0.9 and 0.999 (De et al. 2024, arXiv 2402.19427), with the same effect. ``wide``: from 0.1.
    """
    return torch.empty(number).uniform_(FASTEST_DECAY[timescales], SLOWEST_DECAY)
