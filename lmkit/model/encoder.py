"""The encoder: embedding and recurrent stack, which a language model or a classifier has under its output layer."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmkit.config import ModelConfig
from lmkit.model import state as states
from lmkit.model.cells import ATTENTIONS, Cell
from lmkit.model.cells.band import ATTENTION
from lmkit.model.cells.output_attention import OutputAttention
from lmkit.model.dropout import dropout, type_dropout
from lmkit.model.recurrent import RecurrentStack
from lmkit.model.state import State

__all__ = ["Encoder", "LossOfWindows", "Trace", "WindowLoss"]


# options that some cells have, and that the layers' stack carries out
OF_THE_STACK = {"weight_drop", "zoneout", "initial_state"}


class Trace(NamedTuple):
    """What every layer held at every step: ``h``, the outputs, and ``c``, the memory cells of layers that have any, are
    lists over layers of (B, T, H).
    """

    h: list[Tensor]
    c: list[Tensor]


class WindowLoss(NamedTuple):
    """What training differentiates, nll + penalty, and what it reports: the nll, a sum in nats over ``num_targets``.

    All but the state are 0-d tensors.
    """

    nll: Tensor
    penalty: Tensor
    num_targets: Tensor
    state: State


# Of inputs and targets (B, T), the state before them, and the Marks of a window that has any: a module that a
# data-parallel wrapper fits around.
LossOfWindows = Callable[..., WindowLoss]


class Encoder(nn.Module, ABC):
    """Tokens (B, T) and a state go in; hidden vectors and the new state come out. Nothing is kept on the module between
    calls, and a window of one token is a step.

    config: the shape of the network, vocab_size: the tokens V that it reads. What a network makes of the hidden vectors
    is its ``head``.
    """

    head: nn.Module

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        embedding_size = config.embedding_size or config.hidden_size
        self.config = config
        self.vocab_size = vocab_size
        self.locked = config.locked_dropout
        self.embedding_type_dropout = config.embedding_type_dropout
        self.embedding_dropout, layer_dropout, self.output_dropout = config.dropouts
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.recurrent = RecurrentStack(
            config.cell,
            embedding_size,
            config.hidden_size,
            config.num_layers,
            block=config.block,
            dropout=layer_dropout,
            locked=config.locked_dropout,
            weight_drop=config.weight_drop,
            zoneout=config.zoneout,
            make_attention=_attention_maker(config),
            learned_state=config.initial_state == "learned",
            options=_cell_options(config),
        )

    @property
    @abstractmethod
    def has_fixed_shapes(self) -> bool:
        """Whether the work of training on a window is the same for all targets, as a CUDA graph needs it."""

    def initial_state(self, batch_size: int) -> State:
        """The state before any token: of each layer its cell's own, tensors (B, ...). A learned one has its graph: what
        is trained from it trains it, too.
        """
        return self.recurrent.initial_state(batch_size)

    def outputs(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """What the last layer gives after each of the tokens (B, T): (T, B, D), and the new state. Time comes first
        inside: torch's kernels want it, and no copy is made on the way to the output layer.
        """
        return self.recurrent(self._embed(tokens.t()), state)

    def outputs_in_pieces(
        self,
        tokens: Tensor,
        state: State,
        steps: Sequence[int],
        factor: float = 1.0,
        common: torch.Generator | None = None,
    ) -> tuple[Tensor, list[State]]:
        """The same in pieces of so many steps each, with the state after each of them. factor: what the gradient into
        the state between two pieces is multiplied by. common: draws the masks that all rows share, None for torch's own
        generator.
        """
        return self.recurrent.in_pieces(self._embed(tokens.t(), common), state, steps, factor, common)

    def drop_outputs(self, outputs: Tensor) -> Tensor:
        """What the output layer gets of the last layer's outputs (T, B, D)."""
        return self._drop(outputs, self.output_dropout)

    @property
    def cells(self) -> list[Cell]:
        """The recurrent layers, from the embedding upwards."""
        return list(self.recurrent.cells)

    def constrain(self) -> None:
        """Put parameters back into the bounds that their cells hold them in: after each update."""
        for cell in self.cells:
            cell.constrain()

    def reset(self, state: State, rows: Tensor) -> State:
        """The state with the given rows ((B,) bool) as before any token, and all others as they are."""
        return states.reset(state, rows, self.initial_state(len(rows)))

    def trace(self, tokens: Tensor, state: State) -> Trace:
        """h and c of every layer after each of the tokens (B, T), computed by the written-out cells without dropout."""
        inputs_TBE = self.embedding(tokens.t())
        h, c = [], []
        for cell, values in zip(self.cells, state, strict=True):
            outputs, memories = [], []
            for projected_BP in cell.project(inputs_TBE):
                output_BD, values = cell.step(projected_BP, values)
                outputs.append(output_BD)
                memories += [values[cell.state_names.index("c")]] if "c" in cell.state_names else []
            inputs_TBE = torch.stack(outputs)
            h.append(inputs_TBE.transpose(0, 1))
            c += [torch.stack(memories, dim=1)] if memories else []
        return Trace(h, c)

    def attention_weights(self, tokens: Tensor, state: State) -> list[Tensor]:
        """How each of the tokens (B, T) weighs the last M positions, for each layer that attends, from the embedding
        upwards: (B, heads, T, M), the own position last, zero where there is none yet. Written out, without dropout.
        """
        inputs_TBE = self.embedding(tokens.t())
        found = []
        for cell, values in zip(self.cells, state, strict=True):
            seen = cell.gates(inputs_TBE, values)
            found += [seen[ATTENTION].permute(1, 2, 0, 3)] if ATTENTION in seen else []
            inputs_TBE, _ = Cell.forward(cell, inputs_TBE, values)
        return found

    def _embed(self, tokens_TB: Tensor, common: torch.Generator | None = None) -> Tensor:
        rate, embedded_TBE = self.embedding_type_dropout, self.embedding(tokens_TB)
        inputs_TBE = type_dropout(embedded_TBE, tokens_TB, self.vocab_size, rate, training=self.training, common=common)
        return self._drop(inputs_TBE, self.embedding_dropout)

    def _drop(self, values: Tensor, rate: float) -> Tensor:
        return dropout(values, rate, training=self.training, locked=self.locked)


def _attention_maker(config: ModelConfig) -> Callable[..., OutputAttention] | None:
    return None if config.attention is None else partial(ATTENTIONS[config.attention_kind], context=config.attention)


def _cell_options(config: ModelConfig) -> dict[str, Any]:
    """What a configuration says to its cell alone; the configuration has checked that the cell takes it."""
    names = {item.name for item in dataclasses.fields(config) if item.metadata["cells"]} - OF_THE_STACK
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}
