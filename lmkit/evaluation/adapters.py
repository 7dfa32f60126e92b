"""Test-time adapters: dynamic evaluation, the neural cache and mixtures, stacked on a network and tuned on a
validation text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.errors import ConfigError
from lmkit.evaluation.dynamic import DynamicPredictor
from lmkit.evaluation.mixture import Mixture, best_weights
from lmkit.evaluation.neural_cache import NeuralCache
from lmkit.evaluation.perplexity import token_scores
from lmkit.evaluation.predictor import NetworkPredictor, Predictor
from lmkit.model.language_model import LanguageModel
from lmkit.samplers import IGNORE, Window

__all__ = ["AdapterSettings", "Layer", "Parts", "stack", "tune"]

Windows = Callable[[], Iterable[Window]]
TUNING_TOKENS = 50_000  # a weight or a rate needs no more, and dynamic evaluation is slow
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
FLATNESSES = (0.05, 0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True)
class AdapterSettings:
    """Which adapters are used and how; 0 or an empty weight leaves one out.

    dynamic_span: tokens between two updates of dynamic evaluation. cache: tokens that the cache remembers.
    ngram_weight: share of the n-gram model. mixed_weights: shares of the other models.
    """

    dynamic: bool = False
    dynamic_span: int = 64
    dynamic_lr: float = 1e-4
    dynamic_decay: float = 0.02
    cache: int = 0
    cache_weight: float = 0.1
    cache_flatness: float = 0.2
    ngram_weight: float = 0.0
    mixed_weights: tuple[float, ...] = ()


class Parts(NamedTuple):
    """What adapters are made from: the network, mean squares of its training gradient, an n-gram model, other
    predictors.
    """

    model: LanguageModel
    squares: Sequence[Tensor] | None = None
    ngram: Predictor[Any] | None = None
    others: tuple[Predictor[Any], ...] = ()


class Layer(NamedTuple):
    """One level of a stack: its name, and the predictor with everything up to it."""

    name: str
    predictor: Predictor[Any]


def stack(parts: Parts, settings: AdapterSettings) -> list[Layer]:
    """The network alone, then with one adapter more at each level: dynamic evaluation, cache, n-gram, other models."""
    base: Any = NetworkPredictor(parts.model)
    layers = [Layer("network", base)]
    if settings.dynamic:
        if parts.squares is None:
            raise ConfigError("Dynamic evaluation needs the mean squares of the training gradient.")
        base = DynamicPredictor(
            parts.model,
            parts.squares,
            span=settings.dynamic_span,
            lr=settings.dynamic_lr,
            decay=settings.dynamic_decay,
        )
        layers.append(Layer(f"+ dynamic evaluation every {settings.dynamic_span}", base))
    if settings.cache:
        base = NeuralCache(
            base,
            parts.model.config.hidden_size,
            span=settings.cache,
            flatness=settings.cache_flatness,
            weight=settings.cache_weight,
        )
        layers.append(Layer(f"+ cache of {settings.cache}", base))
    if parts.ngram is not None:
        base = Mixture([base, parts.ngram], [1 - settings.ngram_weight, settings.ngram_weight])
        layers.append(Layer("+ n-gram", base))
    if parts.others:
        own = 1 - sum(settings.mixed_weights)
        base = Mixture([base, *parts.others], [own, *settings.mixed_weights])
        layers.append(Layer(f"+ {len(parts.others)} more", base))
    return layers


def tune(parts: Parts, settings: AdapterSettings, windows: Windows) -> AdapterSettings:
    """The settings that give a validation text the highest probability, one adapter after the other from the bottom
    up.

    The rate of dynamic evaluation and the flatness of the cache come from small grids, all weights of mixtures by
    expectation maximisation. ``windows()`` gives the text anew at each call; its first TUNING_TOKENS tokens are used.
    """
    windows = partial(_beginning, windows)
    if settings.dynamic:
        bare = dataclasses.replace(settings, cache=0)
        rates = [dataclasses.replace(bare, dynamic_lr=rate) for rate in RATES]
        network = parts._replace(ngram=None, others=())
        best = min(rates, key=lambda candidate: _nll(stack(network, candidate)[-1].predictor, windows()))
        settings = dataclasses.replace(settings, dynamic_lr=best.dynamic_lr)
    if settings.cache:
        settings = _tune_cache(parts, settings, windows)
    if parts.ngram is not None:
        below = stack(parts._replace(ngram=None, others=()), settings)[-1].predictor
        weights = best_weights(torch.stack([_scores(below, windows()), _scores(parts.ngram, windows())]))
        settings = dataclasses.replace(settings, ngram_weight=weights[1])
    if parts.others:
        below = stack(parts._replace(others=()), settings)[-1].predictor
        everyone = [below, *parts.others]
        weights = best_weights(torch.stack([_scores(predictor, windows()) for predictor in everyone]))
        settings = dataclasses.replace(settings, mixed_weights=tuple(weights[1:]))
    return settings


def _beginning(windows: Windows) -> Iterator[Window]:
    read = 0
    for window in windows():
        if read >= TUNING_TOKENS:
            return
        yield window
        read += int((window.targets != IGNORE).sum())


def _tune_cache(parts: Parts, settings: AdapterSettings, windows: Windows) -> AdapterSettings:
    below = parts._replace(ngram=None, others=())
    found: list[tuple[float, AdapterSettings]] = []
    for flatness in FLATNESSES:
        cache = stack(below, dataclasses.replace(settings, cache_flatness=flatness, cache_weight=0.5))[-1].predictor
        assert isinstance(cache, NeuralCache)
        scores = _cache_scores(cache, windows())
        weights = best_weights(scores)
        mixed = (scores + torch.tensor(weights, dtype=torch.float64).log()[:, None]).logsumexp(0).sum()
        chosen = dataclasses.replace(settings, cache_flatness=flatness, cache_weight=weights[1])
        found.append((-float(mixed), chosen))
    return min(found, key=lambda candidate: candidate[0])[1]


def _cache_scores(cache: NeuralCache, windows: Iterable[Window]) -> Tensor:
    """What the model and the cache give each token, (2, N); both the same while the cache is empty."""
    state: Any = None
    rows = []
    for window in windows:
        state = cache.initial_state(len(window.reset)) if state is None else cache.reset(state, window.reset)
        model, remembered, state = cache.score_parts(window.inputs, window.targets, state)
        wanted = window.targets != IGNORE
        remembered = torch.where(remembered.isnan(), model.to(remembered.dtype), remembered)
        rows.append(torch.stack([model[wanted].double(), remembered[wanted].double()]))
    return torch.cat(rows, dim=1)


def _scores(predictor: Predictor[Any], windows: Iterable[Window]) -> Tensor:
    """Log-probabilities (N,) of all targets."""
    return torch.cat([part.log_probs[part.targets != IGNORE].double() for part in token_scores(predictor, windows)])


def _nll(predictor: Predictor[Any], windows: Iterable[Window]) -> float:
    nll = -float(_scores(predictor, windows).sum())
    return nll if math.isfinite(nll) else math.inf  # a rate that is too high ends in numbers that are none
