"""Texts made by a known machine: their entropy is exact, so a model can be held to the truth."""

from __future__ import annotations

import functools
import math
import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import CorpusError
from lmkit.text.source import WHOLE, Document, Source

__all__ = ["GENERATED", "GENERATORS", "Brackets", "Copy", "Generator", "Markov"]

DEFAULT_LENGTH = 200_000
LONGEST = 10**12
CHUNK = 1 << 16


class Generator(ABC):
    """A machine that writes characters with known odds."""

    @property
    @abstractmethod
    def entropy_rate(self) -> float:
        """Nats per character of an endless text: no model can do better."""

    @abstractmethod
    def characters(self, seed: int) -> Iterator[str]:
        """An endless text, a character at a time, the same for the same seed."""

    @abstractmethod
    def nll(self, text: str) -> float:
        """Nats that the machine itself gives a text from its begin; infinite for a text it cannot write."""

    def sample(self, length: int, seed: int = 0) -> str:
        """The first ``length`` characters of the text with this seed."""
        return "".join(islice(self.characters(seed), length))

    def chunks(self, length: int, seed: int = 0) -> Iterator[str]:
        """The same as ``sample``, in chunks."""
        source = islice(self.characters(seed), length)
        while chunk := "".join(islice(source, CHUNK)):
            yield chunk


class Markov(Generator):
    """A chain of order two over a few characters: the next one depends on the last two, by odds drawn once and fixed.

    The first two characters are drawn from the chain's stationary distribution, so every place of the text has the same
    odds.
    """

    alphabet = "\n abcdef"

    @functools.cached_property
    def transitions(self) -> NDArray[np.float64]:
        """Odds of the next character given the last two, (A, A, A); each row sums to one and none is zero."""
        size = len(self.alphabet)
        draw = random.Random(20_240_229)
        weights = np.array([draw.expovariate(1.0) ** 2 + 0.01 for _ in range(size**3)]).reshape(size, size, size)
        odds: NDArray[np.float64] = weights / weights.sum(axis=2, keepdims=True)
        return odds

    @functools.cached_property
    def pairs(self) -> NDArray[np.float64]:
        """Stationary odds of two characters in a row, (A, A)."""
        size = len(self.alphabet)
        odds: NDArray[np.float64] = np.full((size, size), 1 / size**2)
        for _ in range(2000):
            odds = np.einsum("ab,abc->bc", odds, self.transitions)
            odds /= odds.sum()
        return odds

    @functools.cached_property
    def entropy_rate(self) -> float:
        surprise = -(self.transitions * np.log(self.transitions)).sum(axis=2)
        return float((self.pairs * surprise).sum())

    def characters(self, seed: int) -> Iterator[str]:
        draw = random.Random(seed)
        size = len(self.alphabet)
        tables = [[list(accumulate(row)) for row in rows] for rows in self.transitions.tolist()]
        before, last = divmod(_draw(draw, list(accumulate(self.pairs.ravel().tolist()))), size)
        yield self.alphabet[before]
        while True:
            yield self.alphabet[last]
            before, last = last, _draw(draw, tables[before][last])

    def nll(self, text: str) -> float:
        places = [self.alphabet.find(character) for character in text]
        if -1 in places:
            return math.inf
        if len(places) < 2:
            return -sum(math.log(self.pairs[place].sum()) for place in places)
        ids = np.array(places)
        steps = self.transitions[ids[:-2], ids[1:-1], ids[2:]]
        return float(-np.log(steps).sum() - np.log(self.pairs[ids[0], ids[1]]))


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

    def nll(self, text: str) -> float:
        stack: list[str] = []
        begun = False
        total = 0.0
        for character in text:
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
                return math.inf
            total -= math.log(odds)
        return total


class Copy(Generator):
    """Lines of ``width`` random letters, an equals sign and the same letters, which a network has to remember."""

    letters, width = "abcdefgh", 8

    @property
    def entropy_rate(self) -> float:
        return self.width * math.log(len(self.letters)) / (2 * self.width + 2)

    def characters(self, seed: int) -> Iterator[str]:
        draw = random.Random(seed)
        while True:
            word = "".join(self.letters[int(draw.random() * len(self.letters))] for _ in range(self.width))
            yield from f"{word}={word}\n"

    def nll(self, text: str) -> float:
        free = 0
        for begin in range(0, len(text), 2 * self.width + 2):
            line = text[begin : begin + 2 * self.width + 2]
            word = line[: self.width]
            if not set(word) <= set(self.letters) or not f"{word}={word}\n".startswith(line):
                return math.inf
            free += len(word)
        return free * math.log(len(self.letters))


GENERATORS: dict[str, Generator] = {"markov": Markov(), "brackets": Brackets(), "copy": Copy()}


def open_generated(name: str, setting: str = "") -> Source:
    """A generated text as one document; ``setting`` is its length in characters."""
    length = DEFAULT_LENGTH if not setting else int(setting[:20]) if setting.isascii() and setting.isdigit() else 0
    if not 1 <= length <= LONGEST:
        raise CorpusError(
            f"{name}:{setting} must give a whole number of characters up to {LONGEST:,}, as in {name}:100000."
        )
    generator = GENERATORS[name]
    document = Document(f"{name}:{length}", partial(generator.chunks, length))
    info = {"entropy_rate_nats_per_char": generator.entropy_rate}
    return Source(name, f"{length} generated characters", {WHOLE: [document]}, info=info)


GENERATED: dict[str, Callable[[str], Source]] = {name: partial(open_generated, name) for name in GENERATORS}


def _draw(draw: random.Random, table: Sequence[float]) -> int:
    """A place in a table of cumulative odds."""
    return min(bisect_right(table, draw.random()), len(table) - 1)


def _entropy(odds: Sequence[float]) -> float:
    return -sum(value * math.log(value) for value in odds)
