"""How much lower one loss makes the perplexity than another does on the same tokens, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import DataError
from lmkit.evaluation.comparison.bootstrap import BlockBootstrap
from lmkit.evaluation.comparison.comparison import count_blocks
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.options import COMPARED

__all__ = ["Blocks", "blocks_of", "gains"]

Floats = NDArray[np.float64]


class Blocks(NamedTuple):
    """How intervals are made: the text in ``blocks`` blocks of at least ``block`` consecutive tokens, drawn
    ``resamples`` times.
    """

    blocks: int
    block: int
    confidence: float = COMPARED.confidence
    resamples: int = COMPARED.resamples
    seed: int = COMPARED.seed


def blocks_of(num_tokens: int) -> Blocks | None:
    """The blocks by which ``lmkit compare`` would judge a text of this many tokens; None where it is too short."""
    try:
        number = count_blocks(num_tokens, None, "token")
    except DataError:
        return None
    return Blocks(number, num_tokens // number)


def gains(pairs: Sequence[tuple[Floats, Floats]], blocks: Blocks | None) -> list[Interval | None]:
    """The relative reduction of perplexity, 0.1 for a tenth less, for pairs of losses (N,) in nats: after and before.

    1 - exp(mean difference), with the ends of the paired block bootstrap of ``lmkit.evaluation.comparison``; without
    blocks there are no ends. None where a loss is not finite.
    """
    differences = [after - before for after, before in pairs]
    finite = [difference for difference in differences if np.isfinite(difference).all()]
    found = iter(_intervals(finite, blocks))
    return [_gain(next(found)) if np.isfinite(difference).all() else None for difference in differences]


def _intervals(differences: Sequence[Floats], blocks: Blocks | None) -> list[Interval]:
    means = [float(difference.mean()) for difference in differences]
    if blocks is None or not differences:
        return [Interval(mean, None, None) for mean in means]
    size, number = len(differences[0]), blocks.blocks
    in_block = np.arange(size) * number // size  # as in ``compare``
    sums = np.stack([np.bincount(in_block, difference, number) for difference in differences], axis=1, dtype=float)
    sizes = np.bincount(in_block, minlength=number).astype(np.float64)[:, None].repeat(len(means), axis=1)
    bootstrap = BlockBootstrap(number, resamples=blocks.resamples, confidence=blocks.confidence, seed=blocks.seed)
    return [Interval(*row) for row in zip(means, *bootstrap.intervals(sums, sizes).tolist(), strict=True)]


def _gain(difference: Interval) -> Interval:
    """From a difference in nats per token; its ends are swapped."""
    low, high = (None if end is None else -math.expm1(min(end, 709)) for end in (difference.high, difference.low))
    return Interval(-math.expm1(min(difference.value, 709)), low, high)
