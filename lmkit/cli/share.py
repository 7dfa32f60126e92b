"""How much of the files that ``lmkit score`` reads is scored by now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmkit.console.terminal.progress import ProgressLine
    from lmkit.evaluation.scoring.blocks import TokenBlock

__all__ = ["ScoredShare"]


class ScoredShare:
    """Counts the characters that are scored, and shows their share.

    size: bytes of all files, nan where they are unknown (standard input, compressed files). Bytes count what was read
    and characters what was scored: they are taken to go together.
    """

    def __init__(self, size: float, line: ProgressLine) -> None:
        self._size, self._line = size, line
        self._bytes = self._chars = self._whole = self._tokens = 0

    def reading(self, chunks: Iterable[str]) -> Iterator[str]:
        """The same chunks, counted."""
        for chunk in chunks:
            self._bytes += len(chunk.encode("utf-8", "surrogatepass"))
            self._chars += len(chunk)
            yield chunk

    def scored(self, block: TokenBlock, tokens: int) -> None:
        """``tokens`` tokens of a block are scored: what ``lmkit.evaluation.scoring.scoring.score_text`` reports."""
        within = len(block.text) * tokens / max(1, len(block))
        done = (self._whole + within) * self._bytes / max(1, self._chars)
        share = self._size if math.isnan(self._size) else min(1.0, done / max(1.0, self._size))
        self._line("scoring", share, [f"{self._tokens + tokens:,} tokens"])
        if tokens == len(block):
            self._whole += len(block.text)
            self._tokens += tokens
