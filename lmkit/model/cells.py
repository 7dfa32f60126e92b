"""The cells written out from their equations: one step, plain tensor operations.

Tests hold torch's kernels to these functions, gradients included, and single-token decoding runs on them. Parameters
come in torch's layout: ``weight_ih`` (gates * H, E), ``weight_hh`` (gates * H, H), gates stacked in torch's order.

Sources: Elman (1990) for the plain network; Le, Jaitly & Hinton (2015), arXiv 1504.00941, for the IRNN; Hochreiter &
Schmidhuber (1997) with the forget gate of Gers et al. (2000) for the LSTM; Cho et al. (2014), arXiv 1406.1078, for
the GRU, in the variant that multiplies the reset gate after the matrix product, as cuDNN and torch compute it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["CELLS", "CellKind", "gru_step", "irnn_step", "lstm_step", "rnn_step"]

Step = Callable[[Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def rnn_step(from_input: Tensor, from_state: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """h' = tanh(W x + b + U h + c), with the two products (B, H) given."""
    return (torch.tanh(from_input + from_state),)


def irnn_step(from_input: Tensor, from_state: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """h' = max(0, W x + b + U h + c), with the two products (B, H) given; U starts as the identity."""
    return (torch.relu(from_input + from_state),)


def gru_step(from_input: Tensor, from_state: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """h' = (1 - z) n + z h, n = tanh(Wx + r * (Uh + c)), with the two products (B, 3H) given in the order r, z, n."""
    (h,) = state
    input_gates, input_n = from_input.split((2 * h.shape[1], h.shape[1]), dim=1)
    state_gates, state_n = from_state.split((2 * h.shape[1], h.shape[1]), dim=1)
    r, z = torch.sigmoid(input_gates + state_gates).chunk(2, dim=1)
    n = torch.tanh(input_n + r * state_n)
    return (n + z * (h - n),)


def lstm_step(from_input: Tensor, from_state: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """c' = f c + i g, h' = o tanh(c'), with the two products (B, 4H) given in the order i, f, g, o."""
    i, f, g, o = (from_input + from_state).chunk(4, dim=1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class CellKind(NamedTuple):
    """One kind of cell: how torch's one-layer module of it is made, gates, tensors of state, and step."""

    module: Callable[[int, int], nn.Module]
    num_gates: int
    num_states: int
    step: Step


CELLS: dict[str, CellKind] = {
    "rnn": CellKind(nn.RNN, 1, 1, rnn_step),
    "irnn": CellKind(partial(nn.RNN, nonlinearity="relu"), 1, 1, irnn_step),
    "gru": CellKind(nn.GRU, 3, 1, gru_step),
    "lstm": CellKind(nn.LSTM, 4, 2, lstm_step),
}
