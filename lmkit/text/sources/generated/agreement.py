"""``agreement``: a word decides another one over a distance."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from lmkit.text.sources.generated.generator import whole_number
from lmkit.text.sources.generated.item import Item
from lmkit.text.sources.generated.machine import Machine, Piece

__all__ = ["Agreement"]

LANGUAGES = MappingProxyType(
    {
        "france": "french",
        "spain": "spanish",
        "italy": "italian",
        "greece": "greek",
        "turkey": "turkish",
        "poland": "polish",
    }
)
FILLERS = ("often", "still", "mostly", "gladly", "rarely", "later", "quietly", "always")


@dataclass(frozen=True)
class Agreement(Machine):
    """Lines such as ``born in france often gladly speaks french``: the country decides the language, over 0 to
    ``longest`` words between them, each number alike, which are drawn from eight adverbs.
    """

    longest: int = 10

    most: ClassVar[int] = 1000
    takes: ClassVar[str] = f"the largest number of words between, from 1 to {most:,}"

    @property
    def setting(self) -> str:
        return str(self.longest)

    @property
    def longest_line(self) -> int:
        return max(len(self._line(country, [max(FILLERS, key=len)] * self.longest)) for country in LANGUAGES)

    def with_setting(self, setting: str) -> Agreement | None:
        longest = whole_number(setting, self.most)
        return None if longest is None else Agreement(longest)

    def pieces(self, state: Hashable) -> Iterator[Piece]:
        """The state is the country and the number of words since then."""
        if not isinstance(state, tuple):
            for country in LANGUAGES:
                yield Piece(f"born in {country} ", 1 / len(LANGUAGES), (country, 0))
            return
        country, count = state
        left = self.longest - count + 1  # numbers of words that are still possible
        yield Piece(f"speaks {LANGUAGES[country]}\n", 1 / left, self.start)
        for filler in FILLERS if left > 1 else ():
            yield Piece(f"{filler} ", (1 - 1 / left) / len(FILLERS), (country, count + 1))

    def items(self, distance: int, number: int = 1, seed: int = 0) -> Iterator[Item]:
        """Which language is spoken, ``distance`` words after the country: ``number`` times the same words after each of
        the countries in turn, so that one item differs from the next by its cue alone.
        """
        draw = random.Random(seed)
        for _ in range(number):
            words = [FILLERS[int(draw.random() * len(FILLERS))] for _ in range(distance)]
            for country, language in LANGUAGES.items():
                line = self._line(country, words)
                wrong = tuple(other for other in LANGUAGES.values() if other != language)
                yield Item(line, len(line) - len(language) - 1, language, wrong, distance)

    @staticmethod
    def _line(country: str, words: Sequence[str]) -> str:
        return " ".join(["born in", country, *words, "speaks", LANGUAGES[country]]) + "\n"
