"""``recall``: a letter, filler, and the letter again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lmkit.text.sources.generated.generator import whole_number
from lmkit.text.sources.generated.item import Item
from lmkit.text.sources.generated.machine import Machine, Piece

__all__ = ["Recall"]


@dataclass(frozen=True)
class Recall(Machine):
    """Lines of a random letter, ``lag`` dots, a question mark and the letter: what was shown is asked for.

    Only the first letter of a line is free, so all that a model can miss is the dots' number and the answer. After
    Hochreiter & Schmidhuber 1997, Long short-term memory, section 5.2.
    """

    lag: int = 20

    letters: ClassVar[str] = "abcdefgh"
    most: ClassVar[int] = 10_000
    takes: ClassVar[str] = f"a lag from 1 to {most:,}"

    @property
    def setting(self) -> str:
        return str(self.lag)

    @property
    def longest_line(self) -> int:
        return len(self._line(self.letters[0]))

    def with_setting(self, setting: str) -> Recall | None:
        lag = whole_number(setting, self.most)
        return None if lag is None else Recall(lag)

    def pieces(self, state: Hashable) -> Iterator[Piece]:
        for letter in self.letters:
            yield Piece(self._line(letter), 1 / len(self.letters), self.start)

    def items(self) -> Iterator[Item]:
        """A line for each letter, with the question what it was; the distance is the lag."""
        for letter in self.letters:
            wrong = tuple(other for other in self.letters if other != letter)
            yield Item(self._line(letter), self.lag + 2, letter, wrong, self.lag)

    def _line(self, letter: str) -> str:
        return f"{letter}{'.' * self.lag}?{letter}\n"
