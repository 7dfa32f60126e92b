"""Texts made by a known machine: their entropy is exact, so a model can be held to the truth."""

from __future__ import annotations

import functools
import math
import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, islice, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import CorpusError
from lmkit.text.sources.source import WHOLE, Document, Source

__all__ = ["GENERATED", "GENERATORS", "Brackets", "Copy", "Generator", "KnownEntropy", "Markov", "known_entropy"]

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
    def surprisals(self, chunks: Iterable[str]) -> Iterator[float]:
        """Nats that the machine itself gives each chunk of a text after those before; infinite for what it cannot
        write.
        """

    def nll(self, text: str) -> float:
        """Nats that the machine itself gives a text from its beginning; infinite for a text it cannot write."""
        return sum(self.surprisals([text]))

    def nll_between(self, begin: int, end: int, seed: int = 0) -> float:
        """Nats of the characters begin..end of the text with this seed, after all that is before them.

        Whoever knows the machine and has read the text so far needs this many; no model needs less on average.
        """
        cuts = chain(range(0, begin, CHUNK), range(begin, end, CHUNK), [end])
        characters = self.characters(seed)
        chunks = ("".join(islice(characters, stop - start)) for start, stop in pairwise(cuts))
        return sum(islice(self.surprisals(chunks), -(-begin // CHUNK), None))

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

    The first two characters are drawn from the chain's stationary distribution, so every position of the text has the
    same odds.
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

    def surprisals(self, chunks: Iterable[str]) -> Iterator[float]:
        single = self.pairs.sum(axis=1)
        last: list[int] = []  # up to two characters before the chunk
        for chunk in chunks:
            indices = [self.alphabet.find(character) for character in chunk]
            if -1 in indices:
                yield math.inf
                return
            ids = np.array([*last, *indices], dtype=np.int64)
            total = -float(np.log(self.transitions[ids[:-2], ids[1:-1], ids[2:]]).sum())
            if len(last) == 0 and len(ids):
                total -= math.log(single[ids[0]])
            if len(last) < 2 <= len(ids):
                total -= math.log(self.pairs[ids[0], ids[1]] / single[ids[0]])
            yield total
            last = ids[-2:].tolist()


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

    def surprisals(self, chunks: Iterable[str]) -> Iterator[float]:
        line = ""
        for chunk in chunks:
            free = 0
            for character in chunk:
                word = line[: self.width]
                if len(line) < self.width:
                    allowed, free = self.letters, free + 1
                else:
                    allowed = f"={word}\n"[len(line) - self.width]
                if character not in allowed:
                    yield math.inf
                    return
                line = "" if character == "\n" else line + character
            yield free * math.log(len(self.letters))


GENERATORS: dict[str, Generator] = {"markov": Markov(), "brackets": Brackets(), "copy": Copy()}


class KnownEntropy(NamedTuple):
    """What is known of a generated text: the entropy rate of the machine in nats per character, and the nats that the
    machine itself gives the text.
    """

    rate: float
    nll: float


def known_entropy(corpus: str, begin: int, end: int) -> KnownEntropy | None:
    """Of the characters begin..end of a corpus, named as for ``open_source``; None where it is unknown."""
    generator = GENERATORS.get(corpus.partition(":")[0])
    return None if generator is None else KnownEntropy(generator.entropy_rate, generator.nll_between(begin, end))


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
    """An index into a table of cumulative odds."""
    return min(bisect_right(table, draw.random()), len(table) - 1)


def _entropy(odds: Sequence[float]) -> float:
    return -sum(value * math.log(value) for value in odds)
