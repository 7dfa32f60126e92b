"""Counting the n-grams of a token stream, all orders at once, by sorting."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import ConfigError, DataError

__all__ = ["CountedNgrams", "count_ngrams"]

Integers = NDArray[np.int64]


class CountedNgrams(NamedTuple):
    """The n distinct n-grams of one order k, sorted by key.

    keys (n,): context * vocab_size + last token, where context is the index of the first k-1 tokens in the table of
    order k-1 (0 for k = 1). suffixes (n,): the index of the last k-1 tokens there. counts (n,): occurrences in the
    highest order; below it, distinct left neighbours (Kneser & Ney 1995), of which the beginning of the stream is one.
    """

    keys: Integers
    suffixes: Integers
    counts: Integers


def count_ngrams(ids: NDArray[Any], *, vocab_size: int, order: int, eos_id: int) -> list[CountedNgrams]:
    """The n-grams of orders 1 to ``order`` of the stream ``<eos>`` + ids (N,) that end in one of the ids.

    The table of order 1 holds the whole vocabulary. Time is that of ``order`` sorts of N numbers. Raises DataError for
    an empty stream, ConfigError for an id outside the vocabulary.
    """
    if len(ids) == 0:
        raise DataError("There is no token to count n-grams of: the text is empty.")
    if int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        raise ConfigError(f"The text holds tokens outside the vocabulary of {vocab_size:,}: encode it again.")
    stream = np.empty(len(ids) + 1, dtype=np.int64)
    stream[0], stream[1:] = eos_id, ids
    whole = np.arange(vocab_size, dtype=np.int64)
    levels = [CountedNgrams(whole, np.zeros_like(whole), np.bincount(stream[1:], minlength=vocab_size))]
    indices = stream  # the n-gram that begins at each position of the stream, as an index into its table
    for size in range(2, order + 1):
        keys = indices[:-1] * vocab_size + stream[size - 1 :]
        keys, longer, counts = np.unique(keys, return_inverse=True, return_counts=True)
        suffixes = np.empty(len(keys), dtype=np.int64)
        suffixes[longer] = indices[1:]
        neighbours = np.bincount(suffixes, minlength=len(levels[-1].keys))
        if size > 2:  # a single token is counted as a target, and every target has a token before it
            neighbours[indices[:1]] += 1
        levels[-1] = levels[-1]._replace(counts=neighbours)
        levels.append(CountedNgrams(keys, suffixes, counts))
        indices = longer
    return levels
