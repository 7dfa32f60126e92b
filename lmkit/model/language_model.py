"""The language model: embedding, recurrent stack, output layer."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.model.encoder import Encoder, WindowLoss
from lmkit.model.head import IGNORE, AdaptiveSoftmax, FullSoftmax, Head
from lmkit.model.marks import PLAIN, Marks
from lmkit.model.penalty import ActivationPenalty
from lmkit.model.state import State

__all__ = ["LanguageModel", "SequenceLoss", "cutoffs_of", "default_cutoffs"]


class LanguageModel(Encoder):
    """A recurrent language model over ``vocab_size`` tokens.

    Tokens (B, T) and a state go in; predictions and the new state come out. Nothing is kept on the model between
    calls, and a window of one token is a step::

        state = model.initial_state(1)
        logits, state = model(tokens, state)      # logits (1, T, V): what follows each token

    ``frequency_order`` (V,) gives token ids from the most to the least frequent, for the adaptive softmax; None means
    that the ids are in that order already.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, frequency_order: Tensor | None = None) -> None:
        super().__init__(config, vocab_size)
        hidden_size = self.recurrent.output_size
        tied = cast(nn.Parameter, self.embedding.weight) if config.tie_embeddings else None
        self.head: Head = (
            FullSoftmax(hidden_size, vocab_size, tied)
            if config.head == "full"
            else AdaptiveSoftmax(hidden_size, vocab_size, cutoffs_of(config, vocab_size), tied, frequency_order)
        )

    @property
    def has_fixed_shapes(self) -> bool:
        return self.head.has_fixed_shapes

    def features(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden vectors (B, T, D) after each of the tokens (B, T), and the new state: the encoder, without the
        output layer.
        """
        outputs_TBD, state = self.outputs(tokens, state)
        return self.drop_outputs(outputs_TBD).transpose(0, 1), state

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, T, V), equal to log-probabilities up to a constant per position, and the new state."""
        hidden_BTD, state = self.features(tokens, state)
        hidden_ND = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])
        return self.head.logits(hidden_ND).view(*tokens.shape, -1), state

    def nll_sum(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """Summed negative log-likelihood in nats of the targets (B, T) that are not IGNORE, and the new state."""
        hidden_BTD, state = self.features(tokens, state)
        return self.head.nll_sum(hidden_BTD.transpose(0, 1).flatten(0, 1), targets.t().flatten()), state


class SequenceLoss(nn.Module):
    """What training calls: one module whose forward gives all of a ``WindowLoss``, so that a data-parallel wrapper fits
    around it. factor: what the gradient into the state is multiplied by at the borders inside a window. common: draws
    the masks that all rows share, where other processes have other rows; None for torch's own generator.
    """

    def __init__(
        self,
        model: LanguageModel,
        penalty: ActivationPenalty | None = None,
        factor: float = 1.0,
        common: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.penalty = penalty or ActivationPenalty()
        self.factor = factor
        self.common = common

    def forward(self, inputs: Tensor, targets: Tensor, state: State, marks: Marks = PLAIN) -> WindowLoss:
        """Inputs and targets (B, T); targets that are IGNORE are left out. The state is the one that is handed on."""
        steps = inputs.shape[1]
        pieces = marks.pieces(steps)
        outputs_TBD, after = self.model.outputs_in_pieces(inputs, state, pieces, self.factor, self.common)
        state = marks.handed_on(state, after, steps)
        if marks.context:
            outputs_TBD, targets = outputs_TBD[marks.context :], targets[:, marks.context :]
        hidden_TBD, targets_TB = self.model.drop_outputs(outputs_TBD), targets.t()
        nll = self.model.head.nll_sum(hidden_TBD.flatten(0, 1), targets_TB.flatten())
        penalty = self.penalty(outputs_TBD, hidden_TBD, targets_TB)
        return WindowLoss(nll, penalty, (targets != IGNORE).sum(), state)


def default_cutoffs(vocab_size: int) -> tuple[int, ...]:
    """Clusters that begin at V/16 and V/4, left out where they would be empty."""
    return tuple(sorted({border for border in (vocab_size // 16, vocab_size // 4) if 0 < border < vocab_size}))


def cutoffs_of(config: ModelConfig, vocab_size: int) -> tuple[int, ...]:
    """Where the clusters of an adaptive softmax begin, by rank of frequency. Raises ConfigError where they do not fit
    the vocabulary.
    """
    cutoffs = config.cutoffs or default_cutoffs(vocab_size)
    if not cutoffs:
        raise ConfigError(f"--head adaptive has no clusters for a vocabulary of {vocab_size} tokens: use --head full.")
    if cutoffs[-1] >= vocab_size:
        raise ConfigError(
            f"--cutoffs {','.join(map(str, cutoffs))} must be below the vocabulary size {vocab_size:,}: give smaller "
            "ones or use --head full."
        )
    return cutoffs
