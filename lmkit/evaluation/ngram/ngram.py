"""An n-gram model as a predictor: interpolated modified Kneser-Ney, counted by lmkit itself or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.errors import ConfigError
from lmkit.evaluation.ngram.backoff import NOWHERE, BackoffTables, Ngrams
from lmkit.evaluation.ngram.counts import count_ngrams
from lmkit.evaluation.ngram.kneser_ney import estimate
from lmkit.evaluation.predictor import TOLERANCE
from lmkit.samplers import IGNORE

__all__ = ["ORDERS", "NgramModel"]

ORDERS = range(1, 7)


class NgramModel:
    """Predicts a token from the ``order`` - 1 tokens before it. Every token of the vocabulary is an ordinary one,
    ``<unk>`` and ``<eos>`` too, and a context goes over line ends; only a reset ends it.

    The state is (B, order-1) int64, the last tokens of each row with the latest at the end, -1 where there is none.
    Everything is computed in float64 on the CPU, and comes back so.
    """

    def __init__(self, vocab_size: int, levels: Sequence[Ngrams]) -> None:
        self.vocab_size = vocab_size
        self.tables = BackoffTables(vocab_size, levels)

    @classmethod
    def train(cls, ids: NDArray[Any], *, vocab_size: int, order: int = 5, eos_id: int) -> Self:
        """Interpolated modified Kneser-Ney from a stream of tokens (N,), ``<eos>`` before its first one.

        The equations are in kneser_ney. Memory at its peak is some 200 bytes for each token of the stream at order 5,
        time is that of sorting the stream once for each order. Raises DataError for an empty stream, ConfigError for an
        order outside ORDERS or an id outside the vocabulary.
        """
        if order not in ORDERS:
            raise ConfigError(f"An n-gram model has an order from {ORDERS[0]} to {ORDERS[-1]}, not {order}.")
        counted = count_ngrams(ids, vocab_size=vocab_size, order=order, eos_id=eos_id)
        return cls(vocab_size, estimate(counted, vocab_size))

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.tables.levels)

    @property
    def num_ngrams(self) -> tuple[int, ...]:
        """How many n-grams of each order from 1 on the model holds; order 1 is the vocabulary."""
        return tuple(len(level.keys) for level in self.tables.levels)

    def log_probs(self, contexts: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Log-probabilities (M,) in nats of the targets (M,) after contexts (M, C), the latest token at the end.

        Of a context the last order-1 tokens count; -1 stands for no token, at its beginning.
        """
        history = np.full((len(targets), max(1, self.order - 1)), NOWHERE)
        given = contexts[:, max(0, contexts.shape[1] - self.order + 1) :]
        history[:, history.shape[1] - given.shape[1] :] = given
        self._check(history, NOWHERE)
        self._check(targets, 0)
        indices = self.tables.contexts(history, 1)
        return self.tables.log_probs([index[:, 0] for index in indices], targets.astype(np.int64))

    @property
    def tolerance(self) -> float:
        return TOLERANCE

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.full((batch_size, self.order - 1), NOWHERE)

    def reset(self, state: Tensor, rows: Tensor) -> Tensor:
        return torch.where(rows[:, None].to(state.device), NOWHERE, state)

    def gather(self, rows: Sequence[tuple[Tensor, int]]) -> Tensor:
        return torch.stack([state[row] for state, row in rows])

    def score(self, tokens: Tensor, targets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        indices, state = self._read(tokens, state)
        goals = targets.cpu().numpy()
        wanted = goals != IGNORE
        self._check(goals[wanted], 0)
        scores = np.zeros(goals.shape)
        scores[wanted] = self.tables.log_probs([index[wanted] for index in indices], goals[wanted])
        return torch.from_numpy(scores), state

    def distribution(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        indices, state = self._read(tokens, state)
        flat = self.tables.distribution([index.reshape(-1) for index in indices], tokens.numel())
        return torch.from_numpy(flat).view(*tokens.shape, -1), state

    def _read(self, tokens: Tensor, state: Tensor) -> tuple[list[NDArray[np.int64]], Tensor]:
        """The indices of the contexts after each token, and the state after the last."""
        read = tokens.cpu()
        self._check(read.numpy(), 0)
        history = torch.cat([state, read], dim=1)
        indices = self.tables.contexts(history.numpy(), tokens.shape[1])
        return indices, history[:, history.shape[1] - state.shape[1] :].clone()

    def _check(self, ids: NDArray[Any], lowest: int) -> None:
        """An id outside the vocabulary would be looked up as another n-gram."""
        if ids.size and (ids.min() < lowest or ids.max() >= self.vocab_size):
            raise ConfigError(
                f"The n-gram model has a vocabulary of {self.vocab_size:,} tokens and was asked for another one: "
                "it must be counted with the tokenizer that encodes the text."
            )
