"""Long short-term memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.cells.cell import Cell, CellState
from lmkit.model.cells.kernel import KernelCell
from lmkit.model.widened import widened

__all__ = ["LSTM", "LSTM_GATES", "lstm_gates", "lstm_memory"]

LSTM_GATES: tuple[str, ...] = ("input", "forget", "candidate", "output")


class LSTM(KernelCell, nn.LSTM):
    """c' = f c + i g, h' = o tanh(c'), with sigmoid gates i, f, o and g = tanh(...), each of W x + b + U h + c.

    Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000). Gates are stacked in the order i, f, g,
    o. forget_bias: start value of the forget gate's bias (Jozefowicz et al. 2015); None leaves torch's, about 0.

    input_gate: ``untied``; ``coupled``, i = 1 - f, without parameters of its own (Greff et al. 2015, arXiv 1503.04069,
    section 3); ``capped``, min(i, 1 - f) in the place of i (Melis, Dyer & Blunsom 2018, arXiv 1707.05589, section 3.2).
    torch has kernels for the first alone: the others are computed step by step.

    projection_size: h' = P (o tanh(c')) is shorter than c (Sak, Senior & Beaufays 2014, arXiv 1402.1128, equation 6).
    """

    state_names = ("h", "c")
    gate_names = LSTM_GATES
    weight_hr_l0: nn.Parameter
    input_gate: str = "untied"  # while torch's constructor runs

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | None = None,
        input_gate: str = "untied",
        projection_size: int | None = None,
        recurrent_init: str = "uniform",
        recurrent_scale: float = 1.0,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            recurrent_init=recurrent_init,
            recurrent_scale=recurrent_scale,
            proj_size=projection_size or 0,
        )
        self.output_size = projection_size or hidden_size
        self.input_gate = input_gate
        if input_gate == "coupled":
            self._leave_out_input_gate()
        if forget_bias is not None:
            self._set_forget_bias(forget_bias)

    def _leave_out_input_gate(self) -> None:
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            setattr(self, name, nn.Parameter(self.get_parameter(name).detach()[self.hidden_size :].clone()))
        self.projected_size = len(self.bias_ih_l0)
        self.gate_names = LSTM_GATES[1:]

    @torch.no_grad()
    def _set_forget_bias(self, value: float) -> None:
        """Torch adds two biases: the whole value goes into one of them and zero into the other."""
        start = 0 if self.input_gate == "coupled" else self.hidden_size
        forget = slice(start, start + self.hidden_size)
        self.bias_ih_l0[forget] = value
        self.bias_hh_l0[forget] = 0

    @property
    def kept_size(self) -> int:
        return self.projected_size + 3 * self.hidden_size

    def flatten_parameters(self) -> None:
        """Into one memory, as cuDNN wants it of the LSTM that it knows."""
        if self.input_gate == "untied":
            super().flatten_parameters()

    def gate_rows(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                rows = len(parameter)
                yield parameter, (rows,) if name == "weight_hr_l0" else (self.hidden_size,) * (rows // self.hidden_size)

    def initial_state(self, batch_size: int) -> CellState:
        """Zeros (B, D) and (B, H)."""
        new_zeros = self.weight_hh_l0.new_zeros
        return new_zeros(batch_size, self.output_size), new_zeros(batch_size, self.hidden_size)

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:  # type: ignore[override]
        if self.input_gate != "untied":
            return Cell.forward(self, inputs, state)
        if not self.proj_size:
            return super().forward(inputs, state)
        with warnings.catch_warnings():  # torch says that a faster library has no projections
            warnings.filterwarnings("ignore", "LSTM with projections is not supported", UserWarning)
            return super().forward(inputs, state)

    def look(self, projected: Tensor, state: CellState) -> dict[str, Tensor]:
        preactivation = widened(projected) + widened(self.from_state(state[0]))
        if self.input_gate == "coupled":  # 1 - f is the sigmoid of the negative sum
            preactivation = torch.cat([-preactivation[:, : self.hidden_size], preactivation], dim=1)
        seen = lstm_gates(preactivation)
        if self.input_gate == "capped":
            seen["input"] = torch.minimum(seen["input"], 1 - seen["forget"])
        return seen

    def step(self, projected: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        seen = self.look(projected, state)
        c = lstm_memory(seen, state[1])
        h = seen["output"] * torch.tanh(c)
        if self.proj_size:
            h = F.linear(h, self.weight_hr_l0)
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
