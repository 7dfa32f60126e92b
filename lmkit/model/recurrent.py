"""A stack of recurrent layers: one one-layer torch module each, with torch's kernels and parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lmkit.model.cells import CELLS
from lmkit.model.dropout import dropout as drop
from lmkit.model.state import State

__all__ = ["LayerWeights", "RecurrentStack", "layer_weights"]


class RecurrentStack(nn.Module):
    """Layers of one cell, with dropout between them.

    One module per layer rather than torch's own multi-layer module: the state of each layer is then a value of its
    own, and every layer can take the fastest kernel.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        locked: bool = False,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.kind = CELLS[cell]
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.locked = locked
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(self.kind.module(size, hidden_size) for size in sizes)
        for layer in self.layers:
            if cell == "irnn":
                _identity_init(layer_weights(layer))
            if forget_bias is not None:
                _set_forget_bias(layer_weights(layer), forget_bias)

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, H) for each tensor of each layer."""
        weight = next(self.parameters())
        zeros = [
            tuple(weight.new_zeros(batch_size, self.hidden_size) for _ in range(self.kind.num_states))
            for _ in self.layers
        ]
        return tuple(zeros)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over inputs (T, B, E) from the state; return the last layer's outputs (T, B, H) and the new state."""
        new_state = []
        for number, (layer, values) in enumerate(zip(self.layers, state, strict=True)):
            if number > 0:
                inputs = drop(inputs, self.dropout, training=self.training, locked=self.locked)
            # torch keeps a dimension for layers in front; the LSTM takes its state as a pair, the others as a tensor
            wide = tuple(value.unsqueeze(0) for value in values)
            inputs, last = layer(inputs, wide if len(wide) > 1 else wide[0])
            last = last if isinstance(last, tuple) else (last,)
            new_state.append(tuple(value.squeeze(0) for value in last))
        return inputs, tuple(new_state)


class LayerWeights(NamedTuple):
    """The parameters of a layer in torch's layout, G gates stacked: (G * H, E), (G * H, H) and twice (G * H,)."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


def layer_weights(layer: nn.Module) -> LayerWeights:
    """The parameters of a one-layer torch module."""
    parameters = dict(layer.named_parameters())
    return LayerWeights(*(parameters[f"{name}_l0"] for name in LayerWeights._fields))


@torch.no_grad()
def _identity_init(weights: LayerWeights) -> None:
    """Le et al. (2015), section 2: identity recurrence, zero biases, other weights of standard deviation 0.001."""
    nn.init.eye_(weights.weight_hh)
    nn.init.normal_(weights.weight_ih, std=0.001)
    nn.init.zeros_(weights.bias_ih)
    nn.init.zeros_(weights.bias_hh)


@torch.no_grad()
def _set_forget_bias(weights: LayerWeights, value: float) -> None:
    """Torch adds two biases: the whole value goes into one of them and zero into the other."""
    forget = slice(weights.weight_hh.shape[1], 2 * weights.weight_hh.shape[1])
    weights.bias_ih[forget] = value
    weights.bias_hh[forget] = 0
