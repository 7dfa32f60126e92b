"""``grammar``: sentences whose words have known classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from types import MappingProxyType
from typing import NamedTuple

from lmkit.errors import DataError
from lmkit.text.sources.generated.machine import Machine, Piece

__all__ = ["Grammar", "Tagged"]

# The words of each class, from frequent to rare. Some are in two classes, so that a word alone does not tell its own:
# saw, felt, cut and hit are nouns and verbs, fast and hard are adjectives and adverbs.
WORDS = MappingProxyType(
    {
        "determiner": ("the", "this", "every", "one"),
        "adjective": ("old", "small", "fast", "quiet", "hard", "red"),
        "noun": ("child", "saw", "dog", "cut", "garden", "felt", "river", "hit", "bird", "stone"),
        "verb": ("saw", "found", "felt", "liked", "cut", "held", "hit", "left"),
        "adverb": ("often", "fast", "slowly", "hard", "again"),
        "preposition": ("near", "behind", "under", "with"),
    }
)
# What follows in each state of a sentence: a class, its odds among those that follow, and the state after it.
RULES = MappingProxyType(
    {
        "sentence": (("determiner", 1.0, "subject"),),
        "subject": (("adjective", 0.4, "subject noun"), ("noun", 0.6, "predicate")),
        "subject noun": (("noun", 1.0, "predicate"),),
        "predicate": (("verb", 1.0, "complement"),),
        "complement": (("determiner", 0.7, "object"), ("adverb", 0.3, "end")),
        "object": (("adjective", 0.4, "object noun"), ("noun", 0.6, "rest")),
        "object noun": (("noun", 1.0, "rest"),),
        "rest": (("preposition", 0.6, "place"), ("adverb", 0.4, "end")),
        "place": (("determiner", 1.0, "place name"),),
        "place name": (("adjective", 0.4, "place noun"), ("noun", 0.6, "end")),
        "place noun": (("noun", 1.0, "end"),),
    }
)
ENDS = MappingProxyType({"complement": 0.2, "rest": 0.5, "end": 1.0})  # odds that the sentence ends there


class Tagged(NamedTuple):
    """The characters begin..end of a text are a word of a class."""

    begin: int
    end: int
    word: str
    kind: str


class Grammar(Machine):
    """Lines that are sentences of a small grammar, such as ``the old saw cut this stone near every river``.

    The n-th word of a class has odds in proportion to 1/n. What stands before a word decides its class.
    """

    start = "sentence"

    def pieces(self, state: Hashable) -> Iterator[Piece]:
        for word, _, odds, after in _words(str(state)):
            end = ENDS.get(after, 0.0)
            if end > 0:
                yield Piece(f"{word}\n", odds * end, self.start)
            if end < 1:
                yield Piece(f"{word} ", odds * (1 - end), after)

    def tags(self, text: str) -> Iterator[Tagged]:
        """The class of each word of a text that the grammar wrote, from the beginning of a line. A last word without
        its space or line end is left out. Raises DataError for a text that the grammar cannot write.
        """
        state, begin = self.start, 0
        for position, character in enumerate(text):
            if character not in " \n":
                continue
            word = text[begin:position]
            found = next((choice for choice in _words(state) if choice[0] == word), None)
            if found is None:
                raise DataError(
                    f"The grammar has no {word!r} there: give a text of the corpus grammar, from a line's start."
                )
            yield Tagged(begin, position, word, found[1])
            state, begin = self.start if character == "\n" else found[3], position + 1


def _words(state: str) -> Iterator[tuple[str, str, float, str]]:
    """In a state each word that may follow, its class, its odds, and the state after it."""
    for kind, share, after in RULES.get(state, ()):
        weights = [1 / rank for rank in range(1, len(WORDS[kind]) + 1)]
        for word, weight in zip(WORDS[kind], weights, strict=True):
            yield word, kind, share * weight / sum(weights), after
