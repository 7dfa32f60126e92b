"""The log-probability of lines, from those of their tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from lmkit.evaluation.scoring.blocks import TokenBlock, unknown_tokens
from lmkit.evaluation.scoring.reading import ScoredBlock
from lmkit.evaluation.scoring.records import shown_with
from lmkit.samplers import IGNORE
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.text.whitespace import code_points, white_space_table

__all__ = ["ScoredLine", "lines_by_block", "scored_lines"]

NO_ID = -1
RESTS_ON_UNK = 0.1  # share of a line's tokens


class ScoredLine(NamedTuple):
    """A line of a scored text, its line end included: ``line`` from 1, characters start:end of its file, words between
    white space, tokens, how many of them are ``<unk>``, and their summed log-probability in nats; unknown: how many of
    them became ``<unk>`` because the vocabulary lacks them, and were not written so.

    A line without a token of its own (``\\n\\n`` can be one token of the line before) has tokens 0. file: which of the
    files, from 0.
    """

    line: int
    start: int
    end: int
    words: int = 0
    tokens: int = 0
    oov: int = 0
    log_prob: float = 0.0
    file: int = 0
    unknown: int = 0

    @property
    def rests_on_unk(self) -> bool:
        """Whether so many of the tokens are unknown that the score must not be compared with another line's."""
        return self.unknown > RESTS_ON_UNK * self.tokens

    @property
    def surprisal(self) -> float:
        """Surprisal in bits."""
        return -self.log_prob / math.log(2.0)

    @property
    def perplexity(self) -> float:
        """exp(-log_prob / tokens), the line end and ``<unk>`` included; not a number without tokens."""
        if not self.tokens:
            return math.nan
        mean = -self.log_prob / self.tokens
        return math.inf if mean > 709 else math.exp(mean)

    def __repr__(self) -> str:
        return shown_with(self, surprisal=self.surprisal)


def scored_lines(blocks: Iterable[ScoredBlock], tokenizer: Tokenizer) -> Iterator[ScoredLine]:
    """Every line of scored blocks in order, each as soon as nothing can be added to it."""
    return chain.from_iterable(lines_by_block(blocks, tokenizer))


def lines_by_block(blocks: Iterable[ScoredBlock], tokenizer: Tokenizer) -> Iterator[list[ScoredLine]]:
    """The same lines, in lists of those that become known with a block."""
    joiner = _Joiner(tokenizer)
    for scored in blocks:
        yield list(joiner.join(scored))
    yield list(joiner.close())


class _Joiner:
    """Joins tokens to lines, block by block. The last line is held: more of it may come, or the ``<eos>`` that closes
    its document.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.unk_id = NO_ID if tokenizer.unk_id is None else tokenizer.unk_id
        self.lines: list[ScoredLine] = []
        self._begin_file(0)

    def join(self, scored: ScoredBlock) -> Iterator[ScoredLine]:
        """The lines that are complete after this block."""
        block = scored.block
        if block.file != self.file:
            yield from self.close()
            self._begin_file(block.file)
        words = self._read(block)
        size = len(self.lines)
        indices = block.lines - (self.lines[0].line if self.lines else 0)
        tokens = np.bincount(indices, block.ids != IGNORE, size).astype(np.int64).tolist()
        oov = np.bincount(indices, block.ids == self.unk_id, size).astype(np.int64).tolist()
        unknown = np.bincount(indices, unknown_tokens(block, self.tokenizer), size).astype(np.int64).tolist()
        sums = np.bincount(indices, scored.log_probs, size).tolist()
        for number, line in enumerate(self.lines):
            self.lines[number] = line._replace(
                words=line.words + words[number],
                tokens=line.tokens + tokens[number],
                oov=line.oov + oov[number],
                log_prob=line.log_prob + sums[number],
                unknown=line.unknown + unknown[number],
            )
        complete = size if block.whole and not self.in_line else size - 1
        yield from self.lines[:complete]
        del self.lines[:complete]

    def close(self) -> Iterator[ScoredLine]:
        """The lines that were held."""
        yield from self.lines
        self.lines = []

    def _begin_file(self, number: int) -> None:
        """Lines are numbered from 1 again."""
        self.file = number
        self.read = 0  # lines
        self.in_line = self.in_word = False

    def _read(self, block: TokenBlock) -> list[int]:
        """Add the lines of the block's text; gives how many words begin in each of all lines that are held."""
        codes = code_points(block.text)
        if not len(codes):
            return [0] * len(self.lines)
        line_ends = np.flatnonzero(codes == ord("\n")) + 1
        first = len(self.lines) - self.in_line
        begins = [*([] if self.in_line else [0]), *line_ends[line_ends < len(codes)].tolist()]
        for begin in begins:
            self.read += 1
            self.lines.append(ScoredLine(self.read, block.offset + begin, block.offset, file=block.file))
        for number, end in enumerate([*line_ends.tolist(), len(codes)][: len(self.lines) - first], first):
            self.lines[number] = self.lines[number]._replace(end=block.offset + end)
        spaces = white_space_table()[codes]
        (word_begins,) = np.nonzero(~spaces & np.append(not self.in_word, spaces[:-1]))
        lines = first + np.searchsorted(line_ends, word_begins, side="right")
        self.in_line, self.in_word = bool(codes[-1] != ord("\n")), not spaces[-1]
        return np.bincount(lines, minlength=len(self.lines)).tolist()
