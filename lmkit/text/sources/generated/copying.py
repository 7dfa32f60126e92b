"""``copy``: letters, and the same letters again."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator

from lmkit.text.sources.generated.generator import Generator

__all__ = ["Copy"]


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
