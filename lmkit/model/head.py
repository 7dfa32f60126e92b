"""Output layers behind one interface: hidden vectors in, log-probabilities out.

Both compute in the precision of their input's autocast for the matrix products and in float32 for the normalisation,
and both give probabilities that sum to one over the whole vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["IGNORE", "AdaptiveSoftmax", "FullSoftmax", "Head"]

IGNORE = -100  # a target of this value is not predicted; torch's own convention


class Head(nn.Module, ABC):
    """What turns hidden vectors (N, D) into predictions over a vocabulary of V tokens."""

    @abstractmethod
    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood in nats of targets (N,) under hidden (N, D): (N,) float32, 0 where the target is
        IGNORE.
        """

    @abstractmethod
    def log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities in nats of every token: (N, V) float32."""

    def nll_sum(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The sum of ``nll``: what training differentiates."""
        return self.nll(hidden, targets).sum()


class FullSoftmax(Head):
    """An exact softmax over the whole vocabulary (N, D) -> (N, V).

    ``tied`` is the embedding's weight (V, E) to share; where E is not D a linear projection without bias comes before
    it (Press & Wolf 2017, arXiv 1608.05859; Inan et al. 2017, arXiv 1611.01462).
    """

    def __init__(self, hidden_size: int, vocab_size: int, tied: nn.Parameter | None = None) -> None:
        super().__init__()
        width = hidden_size if tied is None else tied.shape[1]
        self.projection = nn.Linear(hidden_size, width, bias=False) if width != hidden_size else None
        self.weight = nn.Parameter(torch.empty(vocab_size, width)) if tied is None else tied
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if tied is None:
            nn.init.uniform_(self.weight, -0.1, 0.1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (N, V)."""
        if self.projection is not None:
            hidden = self.projection(hidden)
        return F.linear(hidden, self.weight, self.bias)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(hidden).float(), targets, ignore_index=IGNORE, reduction="none")

    def nll_sum(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(hidden).float(), targets, ignore_index=IGNORE, reduction="sum")

    def log_probs(self, hidden: Tensor) -> Tensor:
        return F.log_softmax(self.logits(hidden).float(), dim=-1)


class AdaptiveSoftmax(Head):
    """Adaptive softmax (Grave et al. 2017, arXiv 1609.04309): an exact, two-level softmax that is cheap for frequent
    tokens.

    Tokens are ranked by frequency; ``order[rank]`` is the id of a rank. The head holds the most frequent
    ``cutoffs[0]`` tokens and one entry for each tail cluster; cluster i holds ranks ``cutoffs[i-1]:cutoffs[i]``.
    Untied, cluster i works at width D / 4^i; tied, every cluster uses the embedding's rows at full width.
    """

    order: Tensor
    rank: Tensor

    def __init__(
        self,
        hidden_size: int,
        vocab_size: int,
        cutoffs: tuple[int, ...],
        tied: nn.Parameter | None = None,
        order: Tensor | None = None,
    ) -> None:
        super().__init__()
        order = torch.arange(vocab_size) if order is None else order.long()
        self.register_buffer("order", order)
        self.register_buffer("rank", torch.argsort(order), persistent=False)
        self.borders = (*cutoffs, vocab_size)
        self.vocab_size = vocab_size
        width = hidden_size if tied is None else tied.shape[1]
        self.projection = nn.Linear(hidden_size, width, bias=False) if width != hidden_size else None
        self.cluster_weight = nn.Parameter(torch.empty(len(cutoffs), width).uniform_(-0.1, 0.1))
        self.cluster_bias = nn.Parameter(torch.zeros(len(cutoffs)))
        self.bias = nn.Parameter(torch.zeros(vocab_size))  # by rank
        self.tied = tied
        if tied is None:
            self.head_weight = nn.Parameter(torch.empty(cutoffs[0], width).uniform_(-0.1, 0.1))
            self.tails = nn.ModuleList(
                _Tail(width, max(1, width // 4 ** (number + 1)), self.borders[number + 1] - self.borders[number])
                for number in range(len(cutoffs))
            )

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        hidden = hidden if self.projection is None else self.projection(hidden)
        known = targets != IGNORE
        ranks = self.rank[targets.clamp_min(0)]
        cluster = torch.bucketize(ranks, self._inner_borders(ranks.device), right=True)
        entry = torch.where(cluster == 0, ranks, self.borders[0] + cluster - 1).masked_fill(~known, IGNORE)
        nll = F.cross_entropy(self._head_logits(hidden).float(), entry, ignore_index=IGNORE, reduction="none")
        for number in range(len(self.borders) - 1):
            (rows,) = torch.nonzero((cluster == number + 1) & known, as_tuple=True)
            if rows.numel():
                logits = self._tail_logits(number, hidden.index_select(0, rows)).float()
                inside = F.cross_entropy(logits, ranks[rows] - self.borders[number], reduction="none")
                nll = nll.index_add(0, rows, inside)
        return nll

    def log_probs(self, hidden: Tensor) -> Tensor:
        hidden = hidden if self.projection is None else self.projection(hidden)
        head = F.log_softmax(self._head_logits(hidden).float(), dim=-1)
        parts = [head[:, : self.borders[0]]]
        for number in range(len(self.borders) - 1):
            inside = F.log_softmax(self._tail_logits(number, hidden).float(), dim=-1)
            parts.append(inside + head[:, self.borders[0] + number, None])
        return torch.cat(parts, dim=1).index_select(1, self.rank)

    def _inner_borders(self, device: torch.device) -> Tensor:
        return torch.tensor(self.borders[:-1], device=device)

    def _head_logits(self, hidden: Tensor) -> Tensor:
        first = self.borders[0]
        weight = self.head_weight if self.tied is None else self._rows(0, first)
        weight = torch.cat([weight, self.cluster_weight])
        return F.linear(hidden, weight, torch.cat([self.bias[:first], self.cluster_bias]))

    def _tail_logits(self, number: int, hidden: Tensor) -> Tensor:
        start, end = self.borders[number], self.borders[number + 1]
        bias = self.bias[start:end]
        if self.tied is None:
            return torch.add(self.tails[number](hidden), bias)
        return F.linear(hidden, self._rows(start, end), bias)

    def _rows(self, start: int, end: int) -> Tensor:
        """The embedding's rows of the ranks from start to end."""
        assert self.tied is not None
        return F.embedding(self.order[start:end], self.tied)


class _Tail(nn.Module):
    """A cluster of rare tokens: a projection to a small width, then one output per token."""

    def __init__(self, hidden_size: int, width: int, size: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(hidden_size, width, bias=False)
        self.expand = nn.Linear(width, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.expand(self.reduce(hidden))
        return logits
