"""What a generated text is made by: a machine that writes characters with known odds."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import ClassVar

__all__ = ["Generator", "draw_index", "whole_number"]

CHUNK = 1 << 16


def draw_index(draw: random.Random, table: Sequence[float]) -> int:
    """An index into a table of cumulative odds."""
    return min(bisect_right(table, draw.random()), len(table) - 1)


def whole_number(text: str, most: int) -> int | None:
    """The number 1..most that a text writes in digits, None where it is none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    return number if 1 <= number <= most else None


class Generator(ABC):
    """A machine that writes characters with known odds.

    takes: what the name of such a text says between the machine and the length, as in ``recall:50:100000``; empty for
    machines that have no setting.
    """

    takes: ClassVar[str] = ""

    @property
    def setting(self) -> str:
        """The setting of this machine, as its name has it."""
        return ""

    @property
    def longest_line(self) -> int:
        """Characters of the longest line of a machine with a setting; a text is no shorter."""
        return 1

    def with_setting(self, setting: str) -> Generator | None:
        """The machine with the setting that a name gives; None where it is no setting."""
        return None

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
