"""Long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.model.cells.cell import CellState
from lmkit.model.cells.kernel import KernelCell

__all__ = ["LSTM", "lstm_gates", "lstm_memory"]


class LSTM(KernelCell, nn.LSTM):  # type: ignore[misc]  # forward has the signature of cells
    """c' = f c + i g, h' = o tanh(c'), with sigmoid gates i, f, o and g = tanh(...), each of W x + b + U h + c.

    Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000). Gates are stacked in the order i, f, g,
    o. forget_bias: start value of the forget gate's bias (Jozefowicz et al. 2015); None leaves torch's, about 0.
    """

    state_names = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | None = None,
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
    ) -> None:
        super().__init__(input_size, hidden_size, recurrent_init=recurrent_init, recurrent_scale=recurrent_scale)
        if forget_bias is not None:
            self._set_forget_bias(forget_bias)

    @torch.no_grad()
    def _set_forget_bias(self, value: float) -> None:
        """Torch adds two biases: the whole value goes into one of them and zero into the other."""
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        self.bias_ih_l0[forget] = value
        self.bias_hh_l0[forget] = 0

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        return lstm_gates(projected + self.from_state(state[0]))

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = lstm_memory(seen, state[1])
        h = seen["output"] * torch.tanh(c)
        return h, (h, c)


def lstm_gates(preactivation: Tensor) -> dict[str, Tensor]:
    """The gates of an LSTM from their sums (B, 4 H) in the order i, f, g, o: (B, H) each."""
    i, f, g, o = preactivation.chunk(4, dim=1)
    return {
        "input": torch.sigmoid(i),
        "forget": torch.sigmoid(f),
        "candidate": torch.tanh(g),
        "output": torch.sigmoid(o),
    }


def lstm_memory(gates: dict[str, Tensor], c: Tensor) -> Tensor:
    """c' = f c + i g."""
    return gates["forget"] * c + gates["input"] * gates["candidate"]
