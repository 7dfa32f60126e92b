"""The log-probability of words and of lines, from those of their tokens.

A token that carries the space before it says two things: that the word before has ended, and how the next one begins.
A product of such tokens is therefore no probability of a word: it leaves out that the word ends, and it holds that the
one before did. Pimentel & Meister (2024, arXiv 2406.14561) and Oh & Schuler (2024, arXiv 2406.10851) give the
correction: with B the tokens that can only come after a whole word,

    p(word | context) = p(tokens | context) * p(B | context, tokens) / p(B | context)

so that the end of a word is counted with it and not with the next one, and the probabilities of all words that can
follow sum to one. The same holds for characters, where B is white space. Where every token is a word there is nothing
to correct.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.evaluation.scoring.blocks import Flags, Integers, TokenBlock
from lmkit.evaluation.scoring.reading import Floats, ScoredBlock
from lmkit.evaluation.scoring.records import shown_with
from lmkit.samplers import IGNORE
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.text.whitespace import white_space_table

__all__ = ["ScoredWord", "follows_word", "scored_words", "words_by_block"]

SPACES = "".join(map(chr, np.flatnonzero(white_space_table())))
NO_ID = -1


class ScoredWord(NamedTuple):
    """A word of a scored text, without the white space before it: characters start:end of its file, ``word`` and
    ``line`` from 1, and its log-probability in nats with the correction of this module.

    A line end, the ``<eos>`` that closes a document and white space at the very end are listed like words. oov: a token
    of it is ``<unk>``. file: which of the files, from 0. word_in_line: counts the words of each line from 1.
    """

    word: int
    text: str
    start: int
    end: int
    line: int
    tokens: int
    log_prob: float
    oov: bool
    file: int = 0
    word_in_line: int = 1

    @property
    def surprisal(self) -> float:
        """Surprisal in bits."""
        return -self.log_prob / math.log(2.0)

    def __repr__(self) -> str:
        return shown_with(self, surprisal=self.surprisal)


def follows_word(tokenizer: Tokenizer) -> Tensor | None:
    """B, the tokens that begin with white space, and ``<eos>``: (V,) bool. None where no token carries a space.

    White space that the vocabulary has no whole token for is not in B, and its share of the word's end is missing.
    """
    found = [bool(text) and text[0] in SPACES for text in tokenizer.token_texts]
    if not any(found):
        return None
    found[tokenizer.eos_id] = True
    return torch.tensor(found)


def scored_words(blocks: Iterable[ScoredBlock], tokenizer: Tokenizer) -> Iterator[ScoredWord]:
    """The words of scored blocks, each as soon as its end is known.

    The blocks need their ``boundary`` and marks where ``follows_word`` is not None. The sum over the words of a file
    is then the sum over its tokens, plus the log-probability of the last word's end where nothing follows it.
    """
    return chain.from_iterable(words_by_block(blocks, tokenizer))


def words_by_block(blocks: Iterable[ScoredBlock], tokenizer: Tokenizer) -> Iterator[list[ScoredWord]]:
    """The same words, in lists of those that become known with a block."""
    joiner = _Joiner(tokenizer)
    for scored in blocks:
        yield list(joiner.join(scored))
    yield list(joiner.close())


class _Joiner:
    """Joins tokens to words, block by block; the last word stays open until something follows it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.unk_id = NO_ID if tokenizer.unk_id is None else tokenizer.unk_id
        self.open: ScoredWord | None = None
        self.in_word = False  # the last token ended in a word's characters
        self.last: ScoredWord | None = None

    def join(self, scored: ScoredBlock) -> Iterator[ScoredWord]:
        """The words that end in this block."""
        block = scored.block
        if self.open is not None and self.open.file != block.file:
            yield from self.close()
        if not len(block):
            return
        previous = self.open.word if self.open is not None else 0
        new = np.diff(block.words, prepend=previous) != 0
        borders = self._borders(scored, new)
        if self.open is not None:
            self.open = self.open._replace(log_prob=self.open.log_prob + float(borders[0]))
        values = scored.log_probs - borders + np.append(borders[1:], 0.0)
        for word in self._words(block, values, np.flatnonzero(new)):
            if self.open is not None and self.open.word == word.word:
                self.open = _joined(self.open, word)
            else:
                yield from self.close()
                self.open = word
        self.in_word = bool(block.pieces[-1])
        if not self.in_word and self.open is not None and not self.open.text.strip(SPACES) and "\n" in self.open.text:
            yield from self.close()

    def close(self) -> Iterator[ScoredWord]:
        """The open word."""
        if self.open is not None and self.open.tokens:
            word = self.open.text.lstrip(SPACES)
            skipped = len(self.open.text) - len(word) if word else 0
            self.last = self.open._replace(
                text=word or self.open.text,
                start=self.open.start + skipped,
                word_in_line=_next_in_line(self.last, self.open),
            )
            yield self.last
        self.open = None
        self.in_word = False

    def _borders(self, scored: ScoredBlock, new: Flags) -> Floats:
        """The log-probability that a word ended before each token (N,), 0 where no word did."""
        ended = new & np.append(self.in_word, scored.block.pieces[:-1])
        return np.zeros(len(new)) if scored.boundary is None else np.where(ended, scored.boundary, 0.0)

    def _words(self, block: TokenBlock, values: Floats, begins: Integers) -> Iterator[ScoredWord]:
        """The words, or parts of words, of a block, with the white space before them."""
        begins = np.union1d(begins, [0])
        ends = np.append(begins[1:], len(block))
        sums = np.add.reduceat(values, begins).tolist()
        unknown = np.add.reduceat(block.ids == self.unk_id, begins, dtype=np.int64).tolist()
        counts = np.add.reduceat(block.ids != IGNORE, begins, dtype=np.int64).tolist()
        columns = zip(
            block.words[begins].tolist(),
            block.starts[begins].tolist(),
            block.ends[ends - 1].tolist(),
            block.lines[begins].tolist(),
            block.ids[begins].tolist(),
            strict=True,
        )
        for number, (word, start, end, line, id) in enumerate(columns):
            text = block.text[start - block.offset : end - block.offset]
            if not text and id != IGNORE:
                text = self.tokenizer.id_to_token(id)
            oov = unknown[number] > 0
            yield ScoredWord(word, text, start, end, line, counts[number], sums[number], oov, block.file)


def _next_in_line(last: ScoredWord | None, word: ScoredWord) -> int:
    """The number of a word within its line, from the word before it."""
    if last is None or (last.file, last.line) != (word.file, word.line):
        return 1
    return last.word_in_line + 1


def _joined(first: ScoredWord, rest: ScoredWord) -> ScoredWord:
    """Two parts of one word."""
    return first._replace(
        text=first.text + rest.text,
        end=rest.end,
        tokens=first.tokens + rest.tokens,
        log_prob=first.log_prob + rest.log_prob,
        oov=first.oov or rest.oov,
    )
