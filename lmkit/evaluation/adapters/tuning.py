"""Rates and weights of adapters, chosen on a validation text. Each model reads the text once, and dynamic evaluation
once for each rate; everything else is arithmetic on what they gave.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.evaluation.adapters.adapters import Parts, dynamic_predictor
from lmkit.evaluation.adapters.mixture import best_weights, mean
from lmkit.evaluation.adapters.neural_cache import Cache, HiddenPredictor, mix
from lmkit.evaluation.options import AdapterSettings
from lmkit.evaluation.perplexity import begin, token_scores
from lmkit.evaluation.predictor import NetworkPredictor, Predictor
from lmkit.samplers import IGNORE, Window

__all__ = ["FLATNESSES", "RATES", "TUNING_TOKENS", "Grid", "ends_of_grids", "tune"]

Windows = Callable[[], Iterable[Window]]
TUNING_TOKENS = 50_000  # a weight or a rate needs no more, and dynamic evaluation is slow


class Grid(NamedTuple):
    """Values of a setting: those of ``start`` are all tried, then those below or above, one by one outwards, while the
    best is the last one tried at that end.
    """

    setting: str
    below: tuple[float, ...]
    start: tuple[float, ...]
    above: tuple[float, ...]


RATES = Grid("dynamic_lr", (1e-5, 3e-6, 1e-6), (3e-5, 1e-4, 3e-4, 1e-3), (3e-3, 1e-2, 3e-2))
FLATNESSES = Grid("cache_flatness", (0.025, 0.0125, 0.006), (0.05, 0.1, 0.2, 0.4, 0.8), (1.6, 3.2, 6.4, 12.8))


def tune(parts: Parts, settings: AdapterSettings, windows: Windows) -> AdapterSettings:
    """The settings that give a validation text the highest probability, one adapter after the other from the bottom
    up.

    The rate of dynamic evaluation and the flatness of the cache come from small grids, which are extended where the
    best is at an end; all weights of mixtures by expectation maximisation. ``windows()`` starts the text again at each
    call; its first TUNING_TOKENS tokens are used, and the network's hidden vectors of two passes over them are in
    memory where there is a cache.
    """
    windows = partial(_beginning, windows)
    reading = _tune_network(parts, settings, windows)
    settings, below = reading.settings, reading.log_probs
    if settings.cache:
        settings, below, _ = _tune_cache(parts, reading, windows)
    if parts.ngram is not None:
        models = [below, _scores(parts.ngram, windows())]
        weights = best_weights(torch.stack(models))
        settings, below = dataclasses.replace(settings, ngram_weight=weights[1]), mean(models, weights)
    if parts.others:
        weights = best_weights(torch.stack([below, *(_scores(other, windows()) for other in parts.others)]))
        settings = dataclasses.replace(settings, mixed_weights=tuple(weights[1:]))
    return settings


def ends_of_grids(settings: AdapterSettings) -> list[str]:
    """Notes on tuned settings that stand at the end of all that is tried: the best may be further out."""
    used = [*([RATES] if settings.dynamic else []), *([FLATNESSES] if settings.cache else [])]
    notes = []
    for grid in used:
        value = getattr(settings, grid.setting)
        if value in (grid.below[-1], grid.above[-1]):
            which = "smallest" if value == grid.below[-1] else "largest"
            notes.append(f"The best {grid.setting}, {value:g}, is the {which} that tuning tries.")
    return notes


class _Reading(NamedTuple):
    """One pass: the settings it had, the log-probabilities (N,), the network's hidden vectors window by window."""

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

    def read(rates: Sequence[float]) -> Iterator[_Reading]:
        # one after the other: of the passes that are over, only the best one is kept
        for rate in rates:
            candidate = dataclasses.replace(settings, dynamic_lr=rate)
            yield _read(dynamic_predictor(parts, candidate), candidate, windows())

    return _best(RATES, read)


def _best(grid: Grid, read: Callable[[Sequence[float]], Iterable[_Reading]]) -> _Reading:
    """The best reading of a grid, beyond its start where it is at an end; of equal ones the first."""
    best = min(read(grid.start), key=attrgetter("nll"))
    for end, beyond in ((grid.start[0], grid.below), (grid.start[-1], grid.above)):
        for value in beyond:
            if getattr(best.settings, grid.setting) != end:
                break
            best = min([best, *read([value])], key=attrgetter("nll"))
            end = value
    return best


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


def _tune_cache(parts: Parts, reading: _Reading, windows: Windows) -> _Reading:
    """The best flatness and weight of a cache over a reading of the network, with the mixture's log-probabilities."""
    cache = Cache(parts.model.config.output_size, span=reading.settings.cache)

    def read(flatnesses: Sequence[float]) -> Iterator[_Reading]:
        for flatness, cached in zip(flatnesses, _cached(cache, windows(), reading, flatnesses), strict=True):
            known = torch.where(cached.isnan(), reading.log_probs, cached)  # an empty cache changes nothing
            weight = best_weights(torch.stack([reading.log_probs, known]))[1]
            chosen = dataclasses.replace(reading.settings, cache_flatness=flatness, cache_weight=weight)
            yield _Reading(chosen, mix(reading.log_probs, cached, weight), ())

    return _best(FLATNESSES, read)


def _cached(cache: Cache, windows: Iterable[Window], reading: _Reading, flatnesses: Sequence[float]) -> Tensor:
    """Log-probabilities (F, N) of the cache alone at each flatness; not a number while it is empty.

    They are written into one table: parts kept in between would leave holes in the heap among the big tables.
    """
    log_probs = torch.empty(len(flatnesses), len(reading.log_probs), dtype=reading.log_probs.dtype)
    memory: Any = None
    done = 0
    for window, vectors in zip(windows, reading.hidden, strict=True):
        memory = begin(cache, window, memory)
        scores, memory = cache.score(window.inputs, window.targets, vectors, memory, flatnesses)
        known = scores[:, window.targets != IGNORE]
        log_probs[:, done : done + known.shape[1]] = known
        done += known.shape[1]
    return log_probs


def _scores(predictor: Predictor[Any], windows: Iterable[Window]) -> Tensor:
    """Log-probabilities (N,) of all targets."""
    return torch.cat([part.log_probs[part.targets != IGNORE].double() for part in token_scores(predictor, windows)])
