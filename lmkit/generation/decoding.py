"""Decoding: from logits to a token. Rules are functions from logits to logits; ``Decoding`` puts them in order and
draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import ConfigError

__all__ = ["Decoding", "keep_min_p", "keep_top_k", "keep_top_p", "keyed_uniforms"]


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k most probable tokens of each row (B, V); all others become impossible."""
    if k >= logits.shape[-1]:
        return logits
    indices = logits.topk(k, dim=-1).indices
    return torch.full_like(logits, -math.inf).scatter(-1, indices, logits.gather(-1, indices))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of tokens whose probability reaches p (Holtzman et al. 2020, arXiv 1904.09751)."""
    ordered, indices = logits.sort(dim=-1, descending=True, stable=True)
    probs = ordered.softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs  # the first token is always kept
    ordered = ordered.masked_fill(before >= p, -math.inf)
    return torch.empty_like(logits).scatter(-1, indices, ordered)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens that are at least p times as probable as the most probable one (Nguyen et al. 2024, arXiv
    2407.01082).
    """
    return logits.masked_fill(logits < logits.max(dim=-1, keepdim=True).values + math.log(p), -math.inf)


def keyed_uniforms(seed: int, streams: list[int], position: int) -> list[float]:
    """One number in [0, 1) per stream, a function of (seed, stream, position) alone (Philox: Salmon et al. 2011)."""
    return [
        float(np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, position])).random())
        for stream in streams
    ]


@dataclass(frozen=True)
class Decoding:
    """How a token is chosen: temperature first, then top-k, top-p and min-p, then a draw. Temperature 0 takes the
    most probable.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"--temperature must be 0 or a positive number, not {self.temperature:g}.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"--top-k must be at least 1, not {self.top_k}.")
        for flag, value in (("--top-p", self.top_p), ("--min-p", self.min_p)):
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"{flag} must be above 0 and at most 1, not {value:g}.")

    def filter(self, logits: Tensor) -> Tensor:
        """Logits (B, V) after temperature and the rules, in float64; impossible tokens are -inf."""
        logits = logits.double()
        if self.temperature == 0:
            return keep_top_k(logits, 1)
        # the maximum goes first: at a low temperature nothing may overflow
        logits = (logits - logits.max(dim=-1, keepdim=True).values) / self.temperature
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits

    def choose(self, logits: Tensor, uniforms: list[float]) -> Tensor:
        """A token for each row of logits (B, V), by inverting the cumulative distribution at the row's uniform
        number: (B,).
        """
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        cumulative = self.filter(logits).softmax(dim=-1).cumsum(dim=-1)
        points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
        # right=True steps over tokens of probability zero, whose cumulative value equals their predecessor's
        return torch.searchsorted(cumulative, points, right=True).squeeze(1).clamp_max(logits.shape[-1] - 1)
