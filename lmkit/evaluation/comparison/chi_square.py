"""The chi-square distribution, for intervals of variances."""

from __future__ import annotations

import math

__all__ = ["chi_square_quantile"]

SMALLEST_STEP = 1e-16


def chi_square_quantile(probability: float, freedom: int) -> float:
    """The value that a chi-square variable stays below with this probability, in (0, 1)."""
    low, high = 0.0, float(freedom)
    while _below(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _below(middle, freedom) < probability else (low, middle)
    return high


def _below(x: float, freedom: int) -> float:
    """The regularised incomplete gamma function P(freedom / 2, x / 2) by its series (NIST Digital Library of
    Mathematical Functions, 8.7.1 with 8.2.4), all of whose terms are positive.
    """
    if x <= 0:
        return 0.0
    a, z = freedom / 2, x / 2
    term = total = 1 / a
    count = 0
    while term > SMALLEST_STEP * total:
        count += 1
        term *= z / (a + count)
        total += term
    return min(1.0, total * math.exp(a * math.log(z) - z - math.lgamma(a)))
