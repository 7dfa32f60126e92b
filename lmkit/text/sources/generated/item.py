"""A question that a generated text puts to a model, with its right answer."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Item"]


class Item(NamedTuple):
    """A text whose character ``position`` begins an answer.

    right: the text that follows there. wrong: what a model that lost the cue might expect instead; no answer begins
    with another one. distance: how many steps of the task lie between the cue and the answer.
    """

    text: str
    position: int
    right: str
    wrong: tuple[str, ...]
    distance: int

    @property
    def context(self) -> str:
        """All that stands before the answer."""
        return self.text[: self.position]

    def behind(self, before: str) -> Item:
        """The same question with more text before it, such as the end of a line."""
        return self._replace(text=before + self.text, position=len(before) + self.position)
