"""Output layers behind one interface: hidden vectors in, log-probabilities out.

Both compute in the precision of their input's autocast for the matrix products and in float32 for the normalisation
(a float64 network in float64), and both give probabilities that sum to one over the whole vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmkit.model.softmax_loss import IGNORE, linear_nll_sum
from lmkit.model.widened import widened

__all__ = ["IGNORE", "AdaptiveSoftmax", "FullSoftmax", "Head", "tail_width"]

ROWS_STEP = 64


class Head(nn.Module, ABC):
    """What turns hidden vectors (N, D) into predictions over a vocabulary of V tokens.

    has_fixed_shapes: whether the work of ``nll_sum`` is the same for all targets, as a CUDA graph needs it.
    """

    has_fixed_shapes: ClassVar[bool] = True

    @abstractmethod
    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood in nats of targets (N,) under hidden (N, D): (N,) float32, 0 where the target is
        IGNORE.
        """

    @abstractmethod
    def log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities in nats of every token: (N, V) float32."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (N, V) up to a constant for each row, in the head's own precision: what costs least."""
        return self.log_probs(hidden)

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
        if self.projection is not None:
            hidden = self.projection(hidden)
        return F.linear(hidden, self.weight, self.bias)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(widened(self.logits(hidden)), targets, ignore_index=IGNORE, reduction="none")

    def nll_sum(self, hidden: Tensor, targets: Tensor) -> Tensor:
        if self.projection is not None:
            hidden = self.projection(hidden)
        return linear_nll_sum(hidden, self.weight, self.bias, targets)

    def log_probs(self, hidden: Tensor) -> Tensor:
        return F.log_softmax(widened(self.logits(hidden)), dim=-1)


class AdaptiveSoftmax(Head):
    """Adaptive softmax (Grave et al. 2017, arXiv 1609.04309): an exact, two-level softmax that is cheap for frequent
    tokens.

    Tokens are ranked by frequency; ``order[rank]`` is the id of a rank. The head holds the most frequent
    ``cutoffs[0]`` tokens and one entry for each tail cluster; cluster i holds ranks ``cutoffs[i-1]:cutoffs[i]``.
    Untied, cluster i works at width D / 4^i; tied, every cluster uses the embedding's rows at full width.
    """

    has_fixed_shapes = False  # a cluster computes as many rows as it has targets
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
        self.in_order = False
        self._derive_from_order()
        cast(Any, self).register_load_state_dict_post_hook(lambda module, keys: module._derive_from_order())
        self.borders = (*cutoffs, vocab_size)
        width = hidden_size if tied is None else tied.shape[1]
        self.projection = nn.Linear(hidden_size, width, bias=False) if width != hidden_size else None
        self.cluster_weight = nn.Parameter(torch.empty(len(cutoffs), width).uniform_(-0.1, 0.1))
        self.cluster_bias = nn.Parameter(torch.zeros(len(cutoffs)))
        self.bias = nn.Parameter(torch.zeros(vocab_size))  # by rank
        self.tied = tied
        if tied is None:
            self.head_weight = nn.Parameter(torch.empty(cutoffs[0], width).uniform_(-0.1, 0.1))
            widths = [tail_width(width, number) for number in range(len(cutoffs))]
            self.reductions = nn.ModuleList(nn.Linear(width, small, bias=False) for small in widths)
            self.expansions = nn.ParameterList(
                torch.empty(self.borders[number + 1] - self.borders[number], small).uniform_(-0.1, 0.1)
                for number, small in enumerate(widths)
            )

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        hidden = hidden if self.projection is None else self.projection(hidden)
        entry_N, members = self._split(targets)
        first, *tails = self._clusters()
        nll = F.cross_entropy(widened(F.linear(hidden, *first)), entry_N, ignore_index=IGNORE, reduction="none")
        for number, (rows, indices) in enumerate(members):
            if rows.numel():
                logits = widened(F.linear(self._reduce(number, hidden.index_select(0, rows)), *tails[number]))
                nll = nll.index_add(0, rows, F.cross_entropy(logits, indices, reduction="none"))
        return nll

    def nll_sum(self, hidden: Tensor, targets: Tensor) -> Tensor:
        hidden = hidden if self.projection is None else self.projection(hidden)
        entry_N, members = self._split(targets)
        first, *tails = self._clusters()
        total = linear_nll_sum(hidden, *first, entry_N)
        for number, (rows, indices) in enumerate(members):
            if rows.numel():
                # matrix kernels are prepared for each new size, which costs more than the product: few sizes are used
                padding = (0, -rows.numel() % ROWS_STEP)
                reduced = self._reduce(number, hidden.index_select(0, F.pad(rows, padding)))
                total = total + linear_nll_sum(reduced, *tails[number], F.pad(indices, padding, value=IGNORE))
        return total

    def log_probs(self, hidden: Tensor) -> Tensor:
        hidden = hidden if self.projection is None else self.projection(hidden)
        first, *tails = self._clusters()
        head_NC = F.log_softmax(widened(F.linear(hidden, *first)), dim=-1)
        parts = [head_NC[:, : self.borders[0]]]
        for number, tail in enumerate(tails):
            inside = F.log_softmax(widened(F.linear(self._reduce(number, hidden), *tail)), dim=-1)
            parts.append(inside + head_NC[:, self.borders[0] + number, None])
        return torch.cat(parts, dim=1).index_select(1, self.rank)

    def _derive_from_order(self) -> None:
        """What follows from ``order``, again after weights were loaded."""
        if self.order.device.type != "meta":
            self.rank.copy_(torch.argsort(self.order))
            self.in_order = bool((self.order.diff() == 1).all())

    def _split(self, targets: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Each target's entry in the head, and for each tail cluster its targets' rows and their indices there."""
        known = targets != IGNORE
        ranks_N = self.rank[targets.clamp_min(0)]
        cluster_N = torch.bucketize(ranks_N, torch.tensor(self.borders[:-1], device=ranks_N.device), right=True)
        entry_N = torch.where(cluster_N == 0, ranks_N, self.borders[0] + cluster_N - 1).masked_fill(~known, IGNORE)
        members = []
        for number in range(len(self.borders) - 1):
            (rows,) = torch.nonzero((cluster_N == number + 1) & known, as_tuple=True)
            members.append((rows, ranks_N[rows] - self.borders[number]))
        return entry_N, members

    def _clusters(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of the head, with the clusters' entries at its end, and of each tail cluster."""
        sizes = [end - start for start, end in zip((0, *self.borders), self.borders, strict=False)]
        if self.tied is None:
            weights = [self.head_weight, *self.expansions]
        else:
            # one split, whose gradient is one concatenation: a slice for each cluster would make a full gradient each
            weights = list((self.tied if self.in_order else self.tied.index_select(0, self.order)).split(sizes))
        first, *biases = self.bias.split(sizes)
        weights[0] = torch.cat([weights[0], self.cluster_weight])
        return list(zip(weights, [torch.cat([first, self.cluster_bias]), *biases], strict=True))

    def _reduce(self, number: int, hidden: Tensor) -> Tensor:
        """The hidden vectors at the width of a tail cluster."""
        if self.tied is not None:
            return hidden
        reduced: Tensor = self.reductions[number](hidden)
        return reduced


def tail_width(width: int, number: int) -> int:
    """The width at which an untied adaptive softmax computes a tail cluster: a quarter of the one before it."""
    return max(1, width // 4 ** (number + 1))
