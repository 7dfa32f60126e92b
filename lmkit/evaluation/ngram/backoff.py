"""Back-off tables: the n-grams of each order in one sorted array, looked up for many contexts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BackoffTables", "Ngrams", "find_ngrams"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

NOWHERE = -1  # the index of an n-gram that is in no table; also the token before the beginning of a stream


class Ngrams(NamedTuple):
    """The n n-grams of one order, sorted by key.

    keys (n,): context * vocab_size + last token, where context is the index of the tokens before it in the table of
    the order below (0 for order 1, which holds the whole vocabulary). log_probs (n,): of the last token after the
    others, in nats. backoffs (n,): the logarithm of what the n-gram as a context multiplies shorter contexts with.
    """

    keys: Integers
    log_probs: Floats
    backoffs: Floats


def find_ngrams(level: Ngrams, contexts: Integers, tokens: Integers, vocab_size: int) -> Integers:
    """The indices of contexts followed by tokens (any shape, the same), NOWHERE where a table does not have them."""
    if len(level.keys) == 0:
        return np.full(contexts.shape, NOWHERE)
    wanted = contexts * vocab_size + tokens
    indices = np.minimum(np.searchsorted(level.keys, wanted), len(level.keys) - 1)
    # Only the token can make an impossible key look like one of the table: a context of -1 gives a negative key.
    indices[(level.keys[indices] != wanted) | (tokens < 0)] = NOWHERE
    return indices


class BackoffTables:
    """Back-off tables of the orders 1 to n over a vocabulary.

    log p(w | h) is that of the n-gram h w where it is in a table; elsewhere h's back-off weight, 0 for an unknown h,
    plus log p(w | h without its first token).
    """

    def __init__(self, vocab_size: int, levels: Sequence[Ngrams]) -> None:
        self.vocab_size = vocab_size
        self.levels = tuple(levels)

    def contexts(self, history: Integers, steps: int) -> list[Integers]:
        """For k = 1 to n-1: the indices (B, steps) of the k tokens that end at each of the last steps of a history.

        history (B, L): token ids, NOWHERE before the beginning; what lies before it counts as NOWHERE too.
        """
        begin = history.shape[1] - steps
        indices, found = history, []
        for order in range(1, len(self.levels)):
            if order > 1:
                longer = np.full(history.shape, NOWHERE)
                level = self.levels[order - 1]
                longer[:, 1:] = find_ngrams(level, indices[:, :-1], history[:, 1:], self.vocab_size)
                indices = longer
            found.append(indices[:, begin:])
        return found

    def log_probs(self, contexts: Sequence[Integers], targets: Integers) -> Floats:
        """Log-probabilities (M,) in nats of the targets (M,) after contexts, (M,) indices for each length 1 to n-1."""
        result = self.levels[0].log_probs[targets]
        for indices, shorter, longer in zip(contexts, self.levels[:-1], self.levels[1:], strict=True):
            found = find_ngrams(longer, indices, targets, self.vocab_size)
            result += _weights(shorter, indices)
            seen = found >= 0
            result[seen] = longer.log_probs[found[seen]]
        return result

    def distribution(self, contexts: Sequence[Integers], size: int) -> Floats:
        """Log-probabilities (M, V) in nats of every token after ``size`` = M contexts, given as to ``log_probs``."""
        weights = [_weights(level, indices) for level, indices in zip(self.levels[:-1], contexts, strict=True)]
        # What a token costs whose longest known context has k tokens: the weights of all longer ones.
        costs = np.cumsum([np.zeros(size), *reversed(weights)], axis=0)[::-1]
        result = self.levels[0].log_probs + costs[0][:, None]
        for level, indices, cost in zip(self.levels[1:], contexts, costs[1:], strict=True):
            rows, found = _continuations(level, indices, self.vocab_size)
            result[rows, level.keys[found] % self.vocab_size] = level.log_probs[found] + cost[rows]
        return result


def _weights(level: Ngrams, indices: Integers) -> Floats:
    """Back-off weights (M,) of contexts at indices (M,), 0 where there is none."""
    if len(level.keys) == 0:
        return np.zeros(indices.shape)
    weights = level.backoffs[indices]
    weights[indices < 0] = 0.0
    return weights


def _continuations(level: Ngrams, indices: Integers, vocab_size: int) -> tuple[Integers, Integers]:
    """The n-grams that begin with the contexts at indices (M,): the row 0..M-1 of each and its index in the level."""
    rows = np.flatnonzero(indices >= 0)
    begins = np.searchsorted(level.keys, indices[rows] * vocab_size)
    lengths = np.searchsorted(level.keys, (indices[rows] + 1) * vocab_size) - begins
    shifts = begins - np.cumsum(lengths) + lengths
    return np.repeat(rows, lengths), np.arange(lengths.sum()) + np.repeat(shifts, lengths)
