"""The continuous cache: a predictor that also believes in words that lately followed similar hidden vectors.

Grave, Joulin & Usunier (2017), "Improving neural language models with a continuous cache", arXiv 1612.04426,
equations 2 to 4.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from lmkit.errors import ConfigError
from lmkit.model.head import IGNORE

__all__ = ["CacheState", "HiddenPredictor", "NeuralCache"]

S = TypeVar("S")
NOTHING = -1  # an empty place in the memory; also a word that is not known yet
BLOCK = 256  # positions computed at a time: the table of similarities is BLOCK x (span + BLOCK)


class HiddenPredictor(Protocol[S]):
    """A predictor that also shows its hidden vectors."""

    def initial_state(self, batch_size: int) -> S: ...

    def reset(self, state: S, rows: Tensor) -> S: ...

    def hidden_and_scores(self, tokens: Tensor, targets: Tensor, state: S) -> tuple[Tensor, Tensor, S]:
        """Hidden vectors (B, T, D), log-probabilities of the targets (B, T), and the new state."""

    def hidden_and_distribution(self, tokens: Tensor, state: S) -> tuple[Tensor, Tensor, S]:
        """Hidden vectors (B, T, D), log-probabilities (B, T, V), and the new state."""


class CacheState(NamedTuple):
    """The last ``span`` hidden vectors (B, span, D) and the tokens that followed them (B, span), the newest last.

    The newest hidden vector waits for its token, which is the next input; ``waiting`` (B,) says whether there is one.
    ``inner`` is the state of the predictor underneath.
    """

    inner: Any
    hidden: Tensor
    following: Tensor
    waiting: Tensor


class NeuralCache:
    """p = (1 - weight) * p_model + weight * p_cache over the last ``span`` tokens.

    p_cache(w) is proportional to the sum over places i with token w of exp(flatness * h_t . h_i), h_i being the
    hidden vector before that token. While the memory is empty p_model stands alone. The span counts stream tokens, so
    no window changes the result.
    """

    def __init__(
        self, predictor: HiddenPredictor[Any], hidden_size: int, *, span: int, flatness: float, weight: float
    ) -> None:
        if span < 1:
            raise ConfigError(f"--cache must be at least 1 token, not {span}.")
        if not 0 <= weight < 1:
            raise ConfigError(f"--cache-weight must be at least 0 and below 1, not {weight:g}.")
        if not (math.isfinite(flatness) and flatness >= 0):
            raise ConfigError(f"--cache-flatness must be 0 or a positive number, not {flatness:g}.")
        self.predictor = predictor
        self.hidden_size = hidden_size
        self.span = span
        self.flatness = flatness
        self.weight = weight

    def initial_state(self, batch_size: int) -> CacheState:
        return CacheState(
            self.predictor.initial_state(batch_size),
            torch.zeros(batch_size, self.span, self.hidden_size),
            torch.full((batch_size, self.span), NOTHING, dtype=torch.long),
            torch.zeros(batch_size, dtype=torch.bool),
        )

    def reset(self, state: CacheState, rows: Tensor) -> CacheState:
        return CacheState(
            self.predictor.reset(state.inner, rows),
            state.hidden,
            state.following.masked_fill(rows.cpu()[:, None], NOTHING),
            state.waiting & ~rows.cpu(),
        )

    def score(self, tokens: Tensor, targets: Tensor, state: CacheState) -> tuple[Tensor, CacheState]:
        model, cache, state = self.score_parts(tokens, targets, state)
        return mix(model, cache, self.weight).masked_fill(targets.cpu() == IGNORE, 0), state

    def score_parts(self, tokens: Tensor, targets: Tensor, state: CacheState) -> tuple[Tensor, Tensor, CacheState]:
        """Log-probabilities (B, T) of the model and of the cache alone; not a number while the cache is empty."""
        hidden, model, inner = self.predictor.hidden_and_scores(tokens, targets, state.inner)
        memory, words, new_state = self._extend(tokens, hidden, inner, state)
        parts = []
        for start in range(0, tokens.shape[1], BLOCK):
            stop = min(start + BLOCK, tokens.shape[1])
            odds, seen = self._odds(memory, words, start, stop)
            same = seen == targets.cpu()[:, start:stop, None]
            parts.append((odds * same).sum(-1).log().masked_fill(~(seen != NOTHING).any(-1), math.nan))
        return model.cpu(), torch.cat(parts, dim=1), new_state

    def distribution(self, tokens: Tensor, state: CacheState) -> tuple[Tensor, CacheState]:
        hidden, model, inner = self.predictor.hidden_and_distribution(tokens, state.inner)
        memory, words, new_state = self._extend(tokens, hidden, inner, state)
        parts = []
        for start in range(0, tokens.shape[1], BLOCK):
            stop = min(start + BLOCK, tokens.shape[1])
            odds, seen = self._odds(memory, words, start, stop)
            empty = ~(seen != NOTHING).any(-1, keepdim=True)
            table = torch.zeros(*odds.shape[:2], model.shape[-1], dtype=odds.dtype)
            table.scatter_add_(2, seen.clamp_min(0), odds)
            parts.append(table.log().masked_fill(empty, math.nan))
        return mix(model.cpu(), torch.cat(parts, dim=1), self.weight), new_state

    def _extend(
        self, tokens: Tensor, hidden: Tensor, inner: Any, state: CacheState
    ) -> tuple[Tensor, Tensor, CacheState]:
        """The memory with this window at its end, (B, span + T). An input is what followed the hidden vector before
        it.
        """
        tokens = tokens.cpu()
        memory = torch.cat([state.hidden, hidden.float().cpu()], dim=1)
        first = tokens[:, 0].masked_fill(~state.waiting, NOTHING)[:, None]
        unknown = torch.full_like(first, NOTHING)
        words = torch.cat([state.following[:, :-1], first, tokens[:, 1:], unknown], dim=1)
        waiting = torch.ones_like(state.waiting)
        return memory, words, CacheState(inner, memory[:, -self.span :], words[:, -self.span :], waiting)

    def _odds(self, memory: Tensor, words: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """For positions start..stop of the window: the odds (B, t, places) of each remembered place, and its token.

        Position t stands at place span + t of the memory and sees the ``span`` places before it.
        """
        end = stop - 1 + self.span
        queries = memory[:, self.span + start : self.span + stop].double()
        similar = self.flatness * queries @ memory[:, start:end].double().transpose(1, 2)
        seen = words[:, start:end].unsqueeze(1).expand(-1, stop - start, -1)
        distance = torch.arange(end - start) - torch.arange(stop - start)[:, None]
        inside = (distance >= 0) & (distance < self.span) & (seen != NOTHING)
        odds = torch.nan_to_num(similar.masked_fill(~inside, -math.inf).softmax(-1))
        return odds, seen.masked_fill(~inside, NOTHING)


def mix(model: Tensor, cache: Tensor, weight: float) -> Tensor:
    """log((1 - weight) exp(model) + weight exp(cache)); where the cache is empty (not a number) the model alone."""
    model = model.double()
    if weight == 0:
        return model
    both = torch.logaddexp(model + math.log1p(-weight), cache.double() + math.log(weight))
    return torch.where(cache.isnan(), model, both)
