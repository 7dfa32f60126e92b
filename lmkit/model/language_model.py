"""The language model: embedding, recurrent stack, output layer."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.model.cells import CELLS
from lmkit.model.dropout import dropout
from lmkit.model.head import AdaptiveSoftmax, FullSoftmax, Head, tail_width
from lmkit.model.recurrent import RecurrentStack, layer_weights
from lmkit.model.state import State

__all__ = ["LanguageModel", "SequenceLoss", "Trace", "cutoffs_of", "default_cutoffs", "stored_shapes"]


class Trace(NamedTuple):
    """What every layer held at every step: ``h`` and ``c`` are lists over layers of (B, T, H); ``c`` is empty without
    cells.
    """

    h: list[Tensor]
    c: list[Tensor]


class LanguageModel(nn.Module):
    """A recurrent language model over ``vocab_size`` tokens.

    Tokens (B, T) and a state go in; predictions and the new state come out. Nothing is kept on the model between
    calls, and a window of one token is a step::

        state = model.initial_state(1)
        logits, state = model(tokens, state)      # logits (1, T, V): what follows each token

    ``frequency_order`` (V,) gives token ids from the most to the least frequent, for the adaptive softmax; None means
    that the ids are in that order already.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, frequency_order: Tensor | None = None) -> None:
        super().__init__()
        embedding_size = config.embedding_size or config.hidden_size
        self.config = config
        self.vocab_size = vocab_size
        self.locked = config.locked_dropout
        self.embedding_dropout, layer_dropout, self.output_dropout = config.dropouts
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.recurrent = RecurrentStack(
            config.cell,
            embedding_size,
            config.hidden_size,
            config.num_layers,
            dropout=layer_dropout,
            locked=config.locked_dropout,
            forget_bias=config.forget_bias,
        )
        tied = cast(nn.Parameter, self.embedding.weight) if config.tie_embeddings else None
        self.head: Head = (
            FullSoftmax(config.hidden_size, vocab_size, tied)
            if config.head == "full"
            else AdaptiveSoftmax(config.hidden_size, vocab_size, cutoffs_of(config, vocab_size), tied, frequency_order)
        )

    def initial_state(self, batch_size: int) -> State:
        """The state before any token: zeros, (B, H) for each tensor of each layer."""
        return self.recurrent.initial_state(batch_size)

    def features(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden vectors (B, T, D) after each of the tokens (B, T), and the new state: the encoder, without the
        output layer.
        """
        hidden_TBD, state = self._encode(tokens.t(), state)
        return hidden_TBD.transpose(0, 1), state

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, T, V), equal to log-probabilities up to a constant per position, and the new state."""
        hidden, state = self.features(tokens, state)
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = self.head.logits(flat) if isinstance(self.head, FullSoftmax) else self.head.log_probs(flat)
        return logits.view(*tokens.shape, -1), state

    def nll_sum(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """Summed negative log-likelihood in nats of the targets (B, T) that are not IGNORE, and the new state."""
        hidden_TBD, state = self._encode(tokens.t(), state)
        return self.head.nll_sum(hidden_TBD.flatten(0, 1), targets.t().flatten()), state

    def trace(self, tokens: Tensor, state: State) -> Trace:
        """h and c of every layer after each of the tokens (B, T), computed by the written-out cells without dropout."""
        kind = CELLS[self.config.cell]
        inputs = self.embedding(tokens)
        h, c = [], []
        for layer, values in zip(self.recurrent.layers, state, strict=True):
            weights, steps = layer_weights(layer), []
            for t in range(tokens.shape[1]):
                from_input = F.linear(inputs[:, t], weights.weight_ih, weights.bias_ih)
                from_state = F.linear(values[0], weights.weight_hh, weights.bias_hh)
                values = kind.step(from_input, from_state, values)
                steps.append(values)
            inputs = torch.stack([step[0] for step in steps], dim=1)
            h.append(inputs)
            if kind.num_states > 1:
                c.append(torch.stack([step[1] for step in steps], dim=1))
        return Trace(h, c)

    def _encode(self, tokens_TB: Tensor, state: State) -> tuple[Tensor, State]:
        """Time comes first inside: torch's kernels want it, and no copy is made on the way to the output layer."""
        inputs_TBE = self._drop(self.embedding(tokens_TB), self.embedding_dropout)
        hidden_TBD, state = self.recurrent(inputs_TBE, state)
        return self._drop(hidden_TBD, self.output_dropout), state

    def _drop(self, values: Tensor, rate: float) -> Tensor:
        return dropout(values, rate, training=self.training, locked=self.locked)


class SequenceLoss(nn.Module):
    """What training calls: one module whose forward gives (nll sum, count, state), so that a data-parallel wrapper
    fits around it.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Inputs and targets (B, T); the nll is a sum in nats over the targets that are not IGNORE, the count their
        number.
        """
        nll, state = self.model.nll_sum(inputs, targets, state)
        return nll, (targets >= 0).sum(), state


def stored_shapes(config: ModelConfig, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's state dict, a tied weight under its first name, known without making the model."""
    hidden, embedding = config.hidden_size, config.embedding_size or config.hidden_size
    gates = CELLS[config.cell].num_gates * hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocab_size, embedding)}
    for number in range(config.num_layers):
        layer = f"recurrent.layers.{number}"
        shapes[f"{layer}.weight_ih_l0"] = (gates, hidden if number else embedding)
        shapes[f"{layer}.weight_hh_l0"] = (gates, hidden)
        shapes[f"{layer}.bias_ih_l0"] = shapes[f"{layer}.bias_hh_l0"] = (gates,)
    if config.tie_embeddings and embedding != hidden:
        shapes["head.projection.weight"] = (embedding, hidden)
    shapes["head.bias"] = (vocab_size,)
    width = embedding if config.tie_embeddings else hidden
    if config.head == "full":
        return shapes if config.tie_embeddings else {**shapes, "head.weight": (vocab_size, hidden)}
    return {**shapes, **_adaptive_shapes(cutoffs_of(config, vocab_size), vocab_size, width, config.tie_embeddings)}


def _adaptive_shapes(cutoffs: tuple[int, ...], vocab_size: int, width: int, tied: bool) -> dict[str, tuple[int, ...]]:
    count = len(cutoffs)
    shapes: dict[str, tuple[int, ...]] = {
        "head.order": (vocab_size,),
        "head.cluster_weight": (count, width),
        "head.cluster_bias": (count,),
    }
    if tied:
        return shapes
    shapes["head.head_weight"] = (cutoffs[0], width)
    for number, (start, end) in enumerate(zip(cutoffs, (*cutoffs[1:], vocab_size), strict=True)):
        small = tail_width(width, number)
        shapes[f"head.reductions.{number}.weight"] = (small, width)
        shapes[f"head.expansions.{number}"] = (end - start, small)
    return shapes


def default_cutoffs(vocab_size: int) -> tuple[int, ...]:
    """Clusters that begin at V/16 and V/4, left out where they would be empty."""
    return tuple(sorted({border for border in (vocab_size // 16, vocab_size // 4) if 0 < border < vocab_size}))


def cutoffs_of(config: ModelConfig, vocab_size: int) -> tuple[int, ...]:
    """Where the clusters of an adaptive softmax begin, by rank of frequency. Raises ConfigError where they do not fit
    the vocabulary.
    """
    cutoffs = config.cutoffs or default_cutoffs(vocab_size)
    if not cutoffs or cutoffs[-1] >= vocab_size:
        raise ConfigError(
            f"--head adaptive needs cutoffs below the vocabulary size {vocab_size}: "
            "give smaller --cutoffs or use --head full."
        )
    return cutoffs
