"""``alphabet``: the alphabet, in one direction or in both."""

from __future__ import annotations

import string
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lmkit.text.sources.generated.item import Item
from lmkit.text.sources.generated.machine import Machine, Piece

__all__ = ["Alphabet"]

FORWARD = string.ascii_lowercase
BACKWARD = FORWARD[::-1]
LINES = {
    "forward": (FORWARD,),
    "backward": (BACKWARD,),
    "both": (FORWARD, BACKWARD),
    "from-letter": tuple(FORWARD[first:] for first in range(len(FORWARD))),
}


@dataclass(frozen=True)
class Alphabet(Machine):
    """Lines with the alphabet: forward, backward, either at random (``both``), or from a random letter to the end.

    With one direction nothing is free: the entropy is zero.
    """

    direction: str = "both"

    takes: ClassVar[str] = f"a direction ({', '.join(LINES)})"

    @property
    def setting(self) -> str:
        return self.direction

    @property
    def longest_line(self) -> int:
        return len(FORWARD) + 1

    def with_setting(self, setting: str) -> Alphabet | None:
        return Alphabet(setting) if setting in LINES else None

    def pieces(self, state: Hashable) -> Iterator[Piece]:
        lines = LINES[self.direction]
        for line in lines:
            yield Piece(f"{line}\n", 1 / len(lines), self.start)

    @staticmethod
    def starts(letter: str = "f") -> dict[str, str]:
        """The alphabet forward, backward, and forward from a letter."""
        return {"forward": FORWARD, "backward": BACKWARD, f"from {letter}": FORWARD[FORWARD.index(letter) :]}

    @staticmethod
    def items(line: str) -> Iterator[Item]:
        """What the letter is, at each position of a line such as those of ``starts``; the distance is the position."""
        for position, letter in enumerate(line):
            yield Item(line, position, letter, tuple(other for other in FORWARD if other != letter), position)
