"""``brackets``: lines of balanced brackets."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterable, Iterator, Sequence

from lmkit.text.sources.generated.generator import Generator

__all__ = ["Brackets"]


def _entropy(odds: Sequence[float]) -> float:
    return -sum(value * math.log(value) for value in odds)


class Brackets(Generator):
    """Lines of balanced brackets (Dyck words): a network needs a stack to know which one closes.

    On the empty stack a line that has begun ends with odds ``end``; otherwise a bracket opens, each kind alike. Inside,
    one opens with odds ``deeper``, and at ``depth`` none does.
    """

    opening, closing = "([{<", ")]}>"
    deeper, end, depth = 0.45, 0.3, 12

    @functools.cached_property
    def entropy_rate(self) -> float:
        begun = self._visits()
        lines = begun[0] * self.end
        nats = lines * math.log(len(self.opening))
        nats += begun[0] * _entropy([self.end] + [(1 - self.end) / len(self.opening)] * len(self.opening))
        inside = _entropy([1 - self.deeper] + [self.deeper / len(self.opening)] * len(self.opening))
        nats += sum(begun[1 : self.depth]) * inside
        return nats / (lines + sum(begun))

    def _visits(self) -> list[float]:
        """How often the stack has each depth when a line has begun, up to a common factor."""
        visits = [1.0]
        up = 1.0  # each line opens once from its begin, and as often from the empty stack as it does not end
        for level in range(1, self.depth + 1):
            down_odds = 1.0 if level == self.depth else 1 - self.deeper
            visits.append(up / down_odds)
            up = visits[-1] - up
        return visits

    def characters(self, seed: int) -> Iterator[str]:
        draw = random.Random(seed)
        while True:
            yield from self._line(draw)

    def _line(self, draw: random.Random) -> Iterator[str]:
        stack: list[str] = []
        begun = False
        while True:
            if not stack and begun and draw.random() < self.end:
                yield "\n"
                return
            closes = stack and (len(stack) == self.depth or draw.random() >= self.deeper)
            if closes:
                yield stack.pop()
                continue
            kind = int(draw.random() * len(self.opening))
            stack.append(self.closing[kind])
            begun = True
            yield self.opening[kind]

    def surprisals(self, chunks: Iterable[str]) -> Iterator[float]:
        stack: list[str] = []
        begun = False
        for chunk in chunks:
            total = 0.0
            for character in chunk:
                if character in self.opening and len(stack) < self.depth:
                    odds = (self.deeper if stack else 1 - self.end if begun else 1.0) / len(self.opening)
                    stack.append(self.closing[self.opening.index(character)])
                    begun = True
                elif stack and character == stack[-1]:
                    odds = 1.0 if len(stack) == self.depth else 1 - self.deeper
                    stack.pop()
                elif character == "\n" and begun and not stack:
                    odds = self.end
                    begun = False
                else:
                    yield math.inf
                    return
                total -= math.log(odds)
            yield total
