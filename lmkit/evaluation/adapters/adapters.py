"""Test-time adapters: dynamic evaluation, the neural cache and mixtures, stacked on a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.errors import ConfigError
from lmkit.evaluation.adapters.dynamic import DynamicPredictor
from lmkit.evaluation.adapters.mixture import Mixture, mean
from lmkit.evaluation.adapters.neural_cache import Cache, HiddenPredictor, Memory, NeuralCache, mix
from lmkit.evaluation.options import AdapterSettings
from lmkit.evaluation.predictor import NetworkPredictor, Predictor
from lmkit.model.language_model import LanguageModel

__all__ = [
    "Components",
    "ComponentsState",
    "Level",
    "Parts",
    "dynamic_predictor",
    "level_log_probs",
    "stack",
]


class Parts(NamedTuple):
    """What adapters are made from: the network, mean squares of its training gradient, an n-gram model, other
    predictors, the precision in which the network scores, and what the n-gram model alone is called.
    """

    model: LanguageModel
    squares: Sequence[Tensor] | None = None
    ngram: Predictor[Any] | None = None
    others: tuple[Predictor[Any], ...] = ()
    precision: torch.dtype = torch.float32
    ngram_name: str = "n-gram"


class Level(NamedTuple):
    """One level of a stack: its name, and the predictor with everything up to it."""

    name: str
    predictor: Predictor[Any]


def stack(parts: Parts, settings: AdapterSettings) -> list[Level]:
    """The network alone, then with one adapter more at each level: dynamic evaluation, cache, n-gram, other models.

    Each level is a predictor of its own and computes everything under it again; ``Components`` computes all levels in
    one pass. Raises ConfigError for impossible settings, and for dynamic evaluation without gradient squares.
    """
    base: Any = NetworkPredictor(parts.model, parts.precision)
    predictors = [base]
    if settings.dynamic:
        base = dynamic_predictor(parts, settings)
        predictors.append(base)
    if settings.cache:
        base = NeuralCache(
            base,
            parts.model.config.output_size,
            span=settings.cache,
            flatness=settings.cache_flatness,
            weight=settings.cache_weight,
        )
        predictors.append(base)
    if parts.ngram is not None:
        base = Mixture([base, parts.ngram], _ngram_weights(settings))
        predictors.append(base)
    if parts.others:
        base = Mixture([base, *parts.others], _mixed_weights(settings))
        predictors.append(base)
    return [Level(name, predictor) for name, predictor in zip(_names(parts, settings), predictors, strict=True)]


def dynamic_predictor(parts: Parts, settings: AdapterSettings) -> DynamicPredictor:
    """The network under dynamic evaluation. Raises ConfigError without gradient squares."""
    if parts.squares is None:
        raise ConfigError("Dynamic evaluation needs the mean squares of the training gradient.")
    return DynamicPredictor(
        parts.model,
        parts.squares,
        span=settings.dynamic_span,
        lr=settings.dynamic_lr,
        decay=settings.dynamic_decay,
        precision=parts.precision,
    )


class ComponentsState(NamedTuple):
    """The states of the networks, the cache's memory (None without a cache), the states of the other models."""

    networks: tuple[Any, ...]
    memory: Memory | None
    others: tuple[Any, ...]


class Components:
    """All that the levels of a stack are mixed from, side by side in one pass, each model read once.

    A scorer of K sets: the network, the network under dynamic evaluation, the cache alone over the hidden vectors of
    the latter (not a number while it is empty), the n-gram model, the other models; those that are used.
    ``level_log_probs`` mixes them. Raises ConfigError where ``stack`` does.
    """

    def __init__(self, parts: Parts, settings: AdapterSettings) -> None:
        levels: list[Any] = [level.predictor for level in stack(parts, settings)]
        count = 2 if settings.dynamic else 1
        self.networks: list[HiddenPredictor[Any]] = levels[:count]
        self.cache: Cache | None = levels[count].cache if settings.cache else None
        self.flatness = settings.cache_flatness
        self.others = [*([] if parts.ngram is None else [parts.ngram]), *parts.others]

    @property
    def tolerance(self) -> float:
        return max([*(part.tolerance for part in self.networks), *(part.tolerance for part in self.others)])

    def initial_state(self, batch_size: int) -> ComponentsState:
        return ComponentsState(
            tuple(network.initial_state(batch_size) for network in self.networks),
            None if self.cache is None else self.cache.initial_state(batch_size),
            tuple(other.initial_state(batch_size) for other in self.others),
        )

    def reset(self, state: ComponentsState, rows: Tensor) -> ComponentsState:
        return ComponentsState(
            tuple(network.reset(part, rows) for network, part in zip(self.networks, state.networks, strict=True)),
            None if self.cache is None or state.memory is None else self.cache.reset(state.memory, rows),
            tuple(other.reset(part, rows) for other, part in zip(self.others, state.others, strict=True)),
        )

    def gather(self, rows: Sequence[tuple[ComponentsState, int]]) -> ComponentsState:
        memories = [(state.memory, row) for state, row in rows if state.memory is not None]
        return ComponentsState(
            tuple(
                network.gather([(state.networks[index], row) for state, row in rows])
                for index, network in enumerate(self.networks)
            ),
            None if self.cache is None else self.cache.gather(memories),
            tuple(
                other.gather([(state.others[index], row) for state, row in rows])
                for index, other in enumerate(self.others)
            ),
        )

    def score(self, tokens: Tensor, targets: Tensor, state: ComponentsState) -> tuple[Tensor, ComponentsState]:
        """Log-probabilities (K, B, T) in float64, and the new state."""
        read = [
            network.hidden_and_scores(tokens, targets, part)
            for network, part in zip(self.networks, state.networks, strict=True)
        ]
        rows, memory = [scores for _, scores, _ in read], state.memory
        if self.cache is not None and memory is not None:
            hidden = read[-1][0]
            (cached,), memory = self.cache.score(tokens, targets, hidden, memory, [self.flatness])
            rows.append(cached)
        scored = [other.score(tokens, targets, part) for other, part in zip(self.others, state.others, strict=True)]
        rows += [scores for scores, _ in scored]
        new = ComponentsState(tuple(part for _, _, part in read), memory, tuple(part for _, part in scored))
        return torch.stack([row.cpu().double() for row in rows]), new


def level_log_probs(parts: Parts, settings: AdapterSettings, components: Tensor) -> list[tuple[str, Tensor]]:
    """The levels' names and log-probabilities (N,) from those of the components (K, N): those of ``stack``, and last
    the n-gram model alone where there is one.
    """
    rows = iter(components)
    levels, alone = [next(rows)], []
    if settings.dynamic:
        levels.append(next(rows))
    if settings.cache:
        levels.append(mix(levels[-1], next(rows), settings.cache_weight))
    if parts.ngram is not None:
        alone = [next(rows)]
        levels.append(mean([levels[-1], *alone], _ngram_weights(settings)))
    if parts.others:
        levels.append(mean([levels[-1], *rows], _mixed_weights(settings)))
    return list(zip([*_names(parts, settings), f"{parts.ngram_name} alone"], [*levels, *alone], strict=False))


def _names(parts: Parts, settings: AdapterSettings) -> list[str]:
    return [
        "network",
        *([f"+ dynamic evaluation every {settings.dynamic_span}"] if settings.dynamic else []),
        *([f"+ cache of {settings.cache}"] if settings.cache else []),
        *(["+ n-gram"] if parts.ngram is not None else []),
        *([f"+ {len(parts.others)} more"] if parts.others else []),
    ]


def _ngram_weights(settings: AdapterSettings) -> list[float]:
    return [1 - settings.ngram_weight, settings.ngram_weight]


def _mixed_weights(settings: AdapterSettings) -> list[float]:
    """Own share first; not below zero where rounding lets the others' sum pass one."""
    own = 1 - sum(settings.mixed_weights)
    return [0.0 if -1e-9 < own < 0 else own, *settings.mixed_weights]
