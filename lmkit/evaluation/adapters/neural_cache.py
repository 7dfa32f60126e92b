"""The continuous cache: a predictor that also believes in words that lately followed similar hidden vectors.

Grave, Joulin & Usunier (2017), "Improving neural language models with a continuous cache", arXiv 1612.04426,
equations 2 to 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from lmkit.evaluation.predictor import Stateful
from lmkit.model.head import IGNORE

__all__ = ["Cache", "CacheState", "HiddenPredictor", "Memory", "NeuralCache", "mix"]

S = TypeVar("S")
NOTHING = -1  # an empty entry of the memory; also a word that is not known yet
BLOCK = 256  # positions computed at a time: the table of similarities is BLOCK x (span + BLOCK)


class HiddenPredictor(Stateful[S], Protocol[S]):
    """A predictor that also shows its hidden vectors."""

    @property
    def tolerance(self) -> float: ...

    def hidden_and_scores(self, tokens: Tensor, targets: Tensor, state: S) -> tuple[Tensor, Tensor, S]:
        """Hidden vectors (B, T, D), log-probabilities of the targets (B, T), and the new state."""

    def hidden_and_distribution(self, tokens: Tensor, state: S) -> tuple[Tensor, Tensor, S]:
        """Hidden vectors (B, T, D), log-probabilities (B, T, V), and the new state."""


class Memory(NamedTuple):
    """The last ``span`` hidden vectors (B, span, D) and the tokens that followed them (B, span), the newest last.

    The newest hidden vector waits for its token, which is the next input; ``waiting`` (B,) says whether there is one.
    """

    hidden: Tensor
    following: Tensor
    waiting: Tensor


class CacheState(NamedTuple):
    """``inner`` is the state of the predictor underneath."""

    inner: Any
    memory: Memory


class Cache:
    """The cache by itself: log-probabilities from the hidden vectors that a network had, whichever network it was.

    p(w) is proportional to the sum over the last ``span`` entries i with token w of exp(flatness * h_t . h_i), h_i
    being the hidden vector (D,) before that token. The span counts stream tokens, so no window changes the result.
    Log-probabilities are not a number while the memory is empty. The bounds of span, flatness and weight are those of
    ``AdapterSettings``.
    """

    def __init__(self, hidden_size: int, *, span: int) -> None:
        self.hidden_size = hidden_size
        self.span = span

    def initial_state(self, batch_size: int) -> Memory:
        return Memory(
            torch.zeros(batch_size, self.span, self.hidden_size),
            torch.full((batch_size, self.span), NOTHING, dtype=torch.long),
            torch.zeros(batch_size, dtype=torch.bool),
        )

    def reset(self, memory: Memory, rows: Tensor) -> Memory:
        return Memory(
            memory.hidden, memory.following.masked_fill(rows.cpu()[:, None], NOTHING), memory.waiting & ~rows.cpu()
        )

    def gather(self, rows: Sequence[tuple[Memory, int]]) -> Memory:
        return Memory(*(torch.stack([memory[part][row] for memory, row in rows]) for part in range(3)))

    def score(
        self, tokens: Tensor, targets: Tensor, hidden: Tensor, memory: Memory, flatnesses: Sequence[float]
    ) -> tuple[Tensor, Memory]:
        """Log-probabilities (F, B, T) of the targets (B, T) at each of F flatnesses, and the memory after the window.

        hidden: (B, T, D), the vectors after the tokens (B, T). The products of vectors, which cost the most, are
        computed once for all flatnesses.
        """
        vectors, words, memory = self._extend(tokens, hidden, memory)
        targets = targets.cpu()
        parts = []
        for start in range(0, tokens.shape[1], BLOCK):
            stop = min(start + BLOCK, tokens.shape[1])
            similar, seen = self._similar(vectors, words, start, stop)
            other = seen != targets[:, start:stop, None]
            empty = ~(seen != NOTHING).any(-1)
            odds = [(_odds(similar, seen, one).masked_fill_(other, 0)).sum(-1).log() for one in flatnesses]
            parts.append(torch.stack(odds).masked_fill(empty, math.nan))
        return torch.cat(parts, dim=2), memory

    def distribution(
        self, tokens: Tensor, hidden: Tensor, memory: Memory, flatness: float, vocab_size: int
    ) -> tuple[Tensor, Memory]:
        """Log-probabilities (B, T, V) of every token at one flatness, and the memory after the window."""
        vectors, words, memory = self._extend(tokens, hidden, memory)
        parts = []
        for start in range(0, tokens.shape[1], BLOCK):
            similar, seen = self._similar(vectors, words, start, min(start + BLOCK, tokens.shape[1]))
            empty = ~(seen != NOTHING).any(-1, keepdim=True)
            odds = _odds(similar, seen, flatness)
            table = torch.zeros(*odds.shape[:2], vocab_size, dtype=odds.dtype)
            table.scatter_add_(2, seen.clamp_min(0), odds)
            parts.append(table.log().masked_fill(empty, math.nan))
        return torch.cat(parts, dim=1), memory

    def _extend(self, tokens: Tensor, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """The memory with this window at its end, (B, span + T). An input is what followed the hidden vector before
        it.
        """
        tokens = tokens.cpu()
        vectors = torch.cat([memory.hidden, hidden.float().cpu()], dim=1)
        first = tokens[:, 0].masked_fill(~memory.waiting, NOTHING)[:, None]
        unknown = torch.full_like(first, NOTHING)
        words = torch.cat([memory.following[:, :-1], first, tokens[:, 1:], unknown], dim=1)
        waiting = torch.ones_like(memory.waiting)
        return vectors, words, Memory(vectors[:, -self.span :], words[:, -self.span :], waiting)

    def _similar(self, vectors: Tensor, words: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """For positions start..stop of the window: products (B, t, entries) with each remembered vector, and the token
        of each entry, NOTHING where it is not remembered.

        Position t has the index span + t in the memory and sees the ``span`` entries before it.
        """
        end = stop - 1 + self.span
        queries = vectors[:, self.span + start : self.span + stop].double()
        similar = queries @ vectors[:, start:end].double().transpose(1, 2)
        seen = words[:, start:end].unsqueeze(1).expand(-1, stop - start, -1)
        distance = torch.arange(end - start) - torch.arange(stop - start)[:, None]
        inside = (distance >= 0) & (distance < self.span)
        return similar, seen.masked_fill(~inside, NOTHING)


class NeuralCache:
    """p = (1 - weight) * p_model + weight * p_cache, p_cache being that of ``Cache`` over the model's hidden vectors.

    While the memory is empty p_model stands alone.
    """

    def __init__(
        self, predictor: HiddenPredictor[Any], hidden_size: int, *, span: int, flatness: float, weight: float
    ) -> None:
        self.predictor = predictor
        self.cache = Cache(hidden_size, span=span)
        self.flatness = flatness
        self.weight = weight

    @property
    def tolerance(self) -> float:
        return self.predictor.tolerance

    def initial_state(self, batch_size: int) -> CacheState:
        return CacheState(self.predictor.initial_state(batch_size), self.cache.initial_state(batch_size))

    def reset(self, state: CacheState, rows: Tensor) -> CacheState:
        return CacheState(self.predictor.reset(state.inner, rows), self.cache.reset(state.memory, rows))

    def gather(self, rows: Sequence[tuple[CacheState, int]]) -> CacheState:
        return CacheState(
            self.predictor.gather([(state.inner, row) for state, row in rows]),
            self.cache.gather([(state.memory, row) for state, row in rows]),
        )

    def score(self, tokens: Tensor, targets: Tensor, state: CacheState) -> tuple[Tensor, CacheState]:
        hidden, model, inner = self.predictor.hidden_and_scores(tokens, targets, state.inner)
        (cached,), memory = self.cache.score(tokens, targets, hidden, state.memory, [self.flatness])
        mixed = mix(model.cpu(), cached, self.weight).masked_fill(targets.cpu() == IGNORE, 0)
        return mixed, CacheState(inner, memory)

    def distribution(self, tokens: Tensor, state: CacheState) -> tuple[Tensor, CacheState]:
        hidden, model, inner = self.predictor.hidden_and_distribution(tokens, state.inner)
        cached, memory = self.cache.distribution(tokens, hidden, state.memory, self.flatness, model.shape[-1])
        return mix(model.cpu(), cached, self.weight), CacheState(inner, memory)


def _odds(similar: Tensor, seen: Tensor, flatness: float) -> Tensor:
    """The share (B, t, entries) of each entry that is remembered, by its product with the query; 0 of the others."""
    return torch.nan_to_num((flatness * similar).masked_fill_(seen == NOTHING, -math.inf).softmax(-1))


def mix(model: Tensor, cache: Tensor, weight: float) -> Tensor:
    """log((1 - weight) exp(model) + weight exp(cache)); where the cache is empty (not a number) the model alone."""
    model = model.double()
    if weight == 0:
        return model
    both = torch.logaddexp(model + math.log1p(-weight), cache.double() + math.log(weight))
    return torch.where(cache.isnan(), model, both)
