"""The rectified network that begins as an identity."""

from __future__ import annotations

import torch
from torch import nn

from lmkit.model.cells.rnn import RNN

__all__ = ["IRNN"]


class IRNN(RNN):
    """h' = max(0, W x + b + U h + c), where U starts as the identity (Le, Jaitly & Hinton 2015, arXiv 1504.00941)."""

    def __init__(
        self, input_size: int, hidden_size: int, *, recurrent_init: str = "identity", recurrent_scale: float = 1.0
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            nonlinearity="relu",
            recurrent_init=recurrent_init,
            recurrent_scale=recurrent_scale,
        )

    @torch.no_grad()
    def initialize(self) -> None:
        """Section 2 of the paper: identity recurrence, zero biases, other weights of standard deviation 0.001."""
        super().initialize()
        nn.init.normal_(self.weight_ih_l0, std=0.001)
        nn.init.zeros_(self.bias_ih_l0)
        nn.init.zeros_(self.bias_hh_l0)
