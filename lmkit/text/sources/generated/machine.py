"""A machine of states that writes whole pieces of text: whoever names its pieces has odds and entropy exactly."""

from __future__ import annotations

import functools
import math
import random
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import ClassVar, NamedTuple

from lmkit.text.sources.generated.generator import Generator, draw_index

__all__ = ["Machine", "Piece"]


class Piece(NamedTuple):
    """Text that a machine may write next, with its odds and the state after it."""

    text: str
    odds: float
    after: Hashable


class Choices(NamedTuple):
    """The pieces of a state and their cumulative odds."""

    pieces: Sequence[Piece]
    table: Sequence[float]


class Machine(Generator):
    """Lines that are written piece by piece, each from the state ``start``, in which no other piece begins.

    No piece of a state begins with another one, so the characters of a text tell its pieces, and the odds of a
    character are those of the pieces that it leaves over. Every line ends after finitely many pieces.
    """

    start: ClassVar[Hashable] = None

    @abstractmethod
    def pieces(self, state: Hashable) -> Iterable[Piece]:
        """What can follow in a state; odds are above zero and sum to one."""

    @functools.cached_property
    def entropy_rate(self) -> float:
        """Entropy of a line over its mean length: both are sums over the pieces that are written, by their odds."""
        nats = length = 0.0
        visits: dict[Hashable, float] = {self.start: 1.0}
        while visits:
            further: dict[Hashable, float] = defaultdict(float)
            for state, share in visits.items():
                for text, odds, after in self._choices(state).pieces:
                    nats -= share * odds * math.log(odds)
                    length += share * odds * len(text)
                    if after != self.start:
                        further[after] += share * odds
            visits = further
        return nats / length

    def characters(self, seed: int) -> Iterator[str]:
        draw = random.Random(seed)
        state = self.start
        while True:
            pieces, table = self._choices(state)
            text, _, state = pieces[draw_index(draw, table)]
            yield from text

    def surprisals(self, chunks: Iterable[str]) -> Iterator[float]:
        left, offset = self._choices(self.start).pieces, 0
        for chunk in chunks:
            total = 0.0
            for character in chunk:
                before, left = left, [piece for piece in left if piece.text[offset] == character]
                if not left:
                    yield math.inf
                    return
                if len(left) < len(before):
                    total -= math.log(_odds(left) / _odds(before))
                offset += 1
                if offset == len(left[0].text):
                    left, offset = self._choices(left[0].after).pieces, 0
            yield total

    @functools.cached_property
    def _seen(self) -> dict[Hashable, Choices]:
        return {}

    def _choices(self, state: Hashable) -> Choices:
        if state not in self._seen:
            pieces = list(self.pieces(state))
            self._seen[state] = Choices(pieces, list(accumulate(piece.odds for piece in pieces)))
        return self._seen[state]


def _odds(pieces: Iterable[Piece]) -> float:
    return sum(piece.odds for piece in pieces)
