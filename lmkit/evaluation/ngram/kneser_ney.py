"""Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, "An empirical study of smoothing techniques").

    p(w | h) = (c(h w) - D(c(h w))) / c(h .) + g(h) p(w | h without its first token)

with g(h) such that the probabilities sum to one, D(1), D(2), D(3 or more) estimated for each order from counts of
counts, and counts below the highest order replaced by numbers of distinct left neighbours. The lowest order is
interpolated with the uniform distribution over the vocabulary, so every token has a positive probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.evaluation.ngram.backoff import Ngrams
from lmkit.evaluation.ngram.counts import CountedNgrams

__all__ = ["Discounts", "estimate", "estimate_discounts"]

Floats = NDArray[np.float64]


class Discounts(NamedTuple):
    """What is taken from a count of one, of two, and of three or more."""

    one: float
    two: float
    more: float


# Where the counts of counts give no discounts, as on tiny texts and for the lowest orders of characters; these are the
# values of KenLM's --discount_fallback.
FALLBACK = Discounts(0.5, 1.0, 1.5)


def estimate_discounts(counts: NDArray[Any]) -> Discounts:
    """The discounts of one order from its counts (n,), zeros ignored; equation (26) of Chen & Goodman (1999).

    FALLBACK where no n-gram has a count of one, two, three or four, or a discount would not be positive.
    """
    times = np.bincount(np.minimum(counts, 5), minlength=6).tolist()
    if 0 in times[1:5]:
        return FALLBACK
    share = times[1] / (times[1] + 2 * times[2])
    found = Discounts(*(count - (count + 1) * share * times[count + 1] / times[count] for count in (1, 2, 3)))
    return found if min(found) > 0 else FALLBACK


def estimate(levels: Sequence[CountedNgrams], vocab_size: int) -> list[Ngrams]:
    """Back-off tables whose probabilities are the interpolated ones; in float64."""
    tables: list[Ngrams] = []
    lower: Floats = np.array([1 / vocab_size])
    for level in levels:
        lower, weights = _interpolate(level, lower, vocab_size)
        if tables:
            tables[-1] = tables[-1]._replace(backoffs=np.log(weights))
        # Rounding may give 1 + 2e-16 where a context has a single continuation.
        tables.append(Ngrams(level.keys, np.log(np.minimum(lower, 1.0)), np.zeros(len(level.keys))))
    return tables


def _interpolate(level: CountedNgrams, lower: Floats, vocab_size: int) -> tuple[Floats, Floats]:
    """Probabilities (n,) of one order's n-grams, and the weight g (m,) of the order below for each context there;
    ``lower`` (m,) holds that order's probabilities.
    """
    contexts = level.keys // vocab_size
    removed = np.array([0.0, *estimate_discounts(level.counts)])[np.minimum(level.counts, 3)]
    totals = np.bincount(contexts, weights=level.counts, minlength=len(lower))
    freed = np.bincount(contexts, weights=removed, minlength=len(lower))
    weights = np.divide(freed, totals, out=np.ones(len(lower)), where=totals > 0)
    probabilities = (level.counts - removed) / totals[contexts] + weights[contexts] * lower[level.suffixes]
    return probabilities, weights
