"""Rates and weights of adapters, chosen on a validation text. Each model reads the text once, and dynamic evaluation
once for each rate; everything else is arithmetic on what they gave.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.evaluation.adapters import AdapterSettings, Parts, dynamic_predictor
from lmkit.evaluation.mixture import best_weights, mean
from lmkit.evaluation.neural_cache import Cache, HiddenPredictor, mix
from lmkit.evaluation.perplexity import begin, token_scores
from lmkit.evaluation.predictor import NetworkPredictor, Predictor
from lmkit.samplers import IGNORE, Window

__all__ = ["FLATNESSES", "RATES", "TUNING_TOKENS", "tune"]

Windows = Callable[[], Iterable[Window]]
TUNING_TOKENS = 50_000  # a weight or a rate needs no more, and dynamic evaluation is slow
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
FLATNESSES = (0.05, 0.1, 0.2, 0.4, 0.8)


def tune(parts: Parts, settings: AdapterSettings, windows: Windows) -> AdapterSettings:
    """The settings that give a validation text the highest probability, one adapter after the other from the bottom
    up.

    The rate of dynamic evaluation and the flatness of the cache come from small grids, all weights of mixtures by
    expectation maximisation. ``windows()`` gives the text anew at each call; its first TUNING_TOKENS tokens are used,
    and the network's hidden vectors of two passes over them are in memory where there is a cache.
    """
    windows = partial(_beginning, windows)
    reading = _tune_network(parts, settings, windows)
    settings, below = reading.settings, reading.log_probs
    if settings.cache:
        cache = Cache(parts.model.config.hidden_size, span=settings.cache)
        cached = _cached(cache, windows(), reading.hidden, torch.empty(len(FLATNESSES), len(below), dtype=below.dtype))
        settings, below = _tune_cache(settings, below, cached)
    if parts.ngram is not None:
        models = [below, _scores(parts.ngram, windows())]
        weights = best_weights(torch.stack(models))
        settings, below = dataclasses.replace(settings, ngram_weight=weights[1]), mean(models, weights)
    if parts.others:
        weights = best_weights(torch.stack([below, *(_scores(other, windows()) for other in parts.others)]))
        settings = dataclasses.replace(settings, mixed_weights=tuple(weights[1:]))
    return settings


class _Reading(NamedTuple):
    """One pass of a network: the settings it had, the log-probabilities (N,), the hidden vectors window by window."""

    settings: AdapterSettings
    log_probs: Tensor
    hidden: Sequence[Tensor]

    @property
    def nll(self) -> float:
        nll = -float(self.log_probs.sum())
        return nll if math.isfinite(nll) else math.inf  # a rate that is too high ends in numbers that are none


def _beginning(windows: Windows) -> Iterator[Window]:
    read = 0
    for window in windows():
        if read >= TUNING_TOKENS:
            return
        yield window
        read += int((window.targets != IGNORE).sum())


def _tune_network(parts: Parts, settings: AdapterSettings, windows: Windows) -> _Reading:
    """The best pass over the rates of dynamic evaluation, or the network's own without it."""
    if not settings.dynamic:
        return _read(NetworkPredictor(parts.model, parts.precision), settings, windows())
    rates = [dataclasses.replace(settings, dynamic_lr=rate) for rate in RATES]
    # one after the other: of the passes that are over, only the best one is kept
    readings = (_read(dynamic_predictor(parts, candidate), candidate, windows()) for candidate in rates)
    return min(readings, key=attrgetter("nll"))


def _read(predictor: HiddenPredictor[Any], settings: AdapterSettings, windows: Iterable[Window]) -> _Reading:
    state: Any = None
    log_probs, vectors = [], []
    for window in windows:
        hidden, scores, state = predictor.hidden_and_scores(
            window.inputs, window.targets, begin(predictor, window, state)
        )
        log_probs.append(scores.cpu()[window.targets != IGNORE].double())
        if settings.cache:
            vectors.append(hidden.float().cpu())
    return _Reading(settings, torch.cat(log_probs), vectors)


def _cached(cache: Cache, windows: Iterable[Window], hidden: Iterable[Tensor], log_probs: Tensor) -> Tensor:
    """Log-probabilities (F, N) of the cache alone at each flatness; not a number while it is empty.

    They are written into ``log_probs``: parts kept in between would leave holes in the heap among the big tables.
    """
    memory: Any = None
    place = 0
    for window, vectors in zip(windows, hidden, strict=True):
        memory = begin(cache, window, memory)
        scores, memory = cache.score(window.inputs, window.targets, vectors, memory, FLATNESSES)
        known = scores[:, window.targets != IGNORE]
        log_probs[:, place : place + known.shape[1]] = known
        place += known.shape[1]
    return log_probs


def _tune_cache(settings: AdapterSettings, below: Tensor, cached: Tensor) -> tuple[AdapterSettings, Tensor]:
    """The flatness and weight, of (F, N) log-probabilities of the cache over those below it (N,), and the mixture."""
    found = []
    for flatness, scores in zip(FLATNESSES, cached, strict=True):
        known = torch.where(scores.isnan(), below, scores)  # while the cache is empty its weight changes nothing
        weight = best_weights(torch.stack([below, known]))[1]
        mixed = mix(below, scores, weight)
        chosen = dataclasses.replace(settings, cache_flatness=flatness, cache_weight=weight)
        found.append((float(mixed.sum()), chosen, mixed))
    _, settings, mixed = max(found, key=itemgetter(0))
    return settings, mixed


def _scores(predictor: Predictor[Any], windows: Iterable[Window]) -> Tensor:
    """Log-probabilities (N,) of all targets."""
    return torch.cat([part.log_probs[part.targets != IGNORE].double() for part in token_scores(predictor, windows)])
