"""``anbn``: as many b as a, for which a network has to count."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lmkit.text.sources.generated.generator import whole_number
from lmkit.text.sources.generated.item import Item
from lmkit.text.sources.generated.machine import Machine, Piece

__all__ = ["Counting"]


@dataclass(frozen=True)
class Counting(Machine):
    """Lines of n a and n b, each n from ``shortest`` to ``longest`` alike.

    Once the first b stands, all is known. A model that was trained up to some n is asked for longer ones by ``items``,
    or by the text of other lengths (Gers & Schmidhuber 2001, LSTM recurrent networks learn simple context-free and
    context-sensitive languages).
    """

    shortest: int = 1
    longest: int = 12

    most: ClassVar[int] = 500
    takes: ClassVar[str] = f"the largest number of a, or the smallest and the largest as in 1-12, up to {most}"

    @property
    def setting(self) -> str:
        return f"{self.shortest}-{self.longest}"

    @property
    def longest_line(self) -> int:
        return 2 * self.longest + 1

    def with_setting(self, setting: str) -> Counting | None:
        first, dash, last = setting.rpartition("-")
        shortest, longest = whole_number(first if dash else "1", self.most), whole_number(last, self.most)
        if shortest is None or longest is None or longest < shortest:
            return None
        return Counting(shortest, longest)

    def pieces(self, state: Hashable) -> Iterator[Piece]:
        """The state is the number of a so far, None where there is none."""
        count = state if isinstance(state, int) else 0
        left = self.longest - max(count, self.shortest) + 1  # numbers of a that are still possible
        ends = count >= self.shortest
        if ends:
            yield Piece("b" * count + "\n", 1 / left, self.start)
        if not ends or left > 1:
            yield Piece("a", 1 - 1 / left if ends else 1.0, count + 1)

    @staticmethod
    def items(count: int) -> Iterator[Item]:
        """Whether the line goes on or ends, after each b of the line with ``count`` a: the distance is the number of b
        so far.
        """
        line = "a" * count + "b" * count + "\n"
        for seen in range(1, count + 1):
            right = line[count + seen]
            yield Item(line, count + seen, right, ("b" if right == "\n" else "\n",), seen)
