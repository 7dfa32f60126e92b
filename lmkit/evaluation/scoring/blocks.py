"""Text to blocks of tokens: each token with its characters, its word and its line, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.samplers import IGNORE
from lmkit.text.documents import split_documents
from lmkit.text.tokenizers.tokenizer import Tokenizer, slices
from lmkit.text.whitespace import code_points, white_space_table

__all__ = ["TokenBlock", "token_blocks", "unknown_tokens"]

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Found = tuple[Integers, Integers]  # ids (N,) and spans (N, 2)
CHARACTERS = 1 << 16  # of a block: what is in memory at a time, with some hundred bytes for each token


@dataclass(frozen=True, eq=False)
class TokenBlock:
    """Tokens (N,) of a stretch of a file, in order.

    ids: IGNORE where nothing is to be scored and only the end of a word is asked for. starts, ends: characters of the
    file. words, lines: numbers from 1 in the file; ``pieces`` says which tokens end in a word's characters.
    text: the stretch, which begins at character ``offset``. file: which of the files. segments: the tokens before
    which the state is reset, with ``<eos>`` as input; they may be read in parallel where all of the block's
    segments are ``whole``, else the first tokens continue the block before.

    A word here is a unit of the text with the white space before it: a run of other characters, a line end, the
    ``<eos>`` that closes a document, or the white space at the very end.
    """

    file: int
    text: str
    offset: int
    ids: Integers
    starts: Integers
    ends: Integers
    words: Integers
    lines: Integers
    pieces: Flags
    segments: Integers
    whole: bool

    def __len__(self) -> int:
        return len(self.ids)


def unknown_tokens(block: TokenBlock, tokenizer: Tokenizer) -> Flags:
    """Which tokens (N,) became ``<unk>`` because the vocabulary lacks them: all but those that are written so."""
    if tokenizer.unk_id is None:
        return np.zeros(len(block), dtype=np.bool_)
    unknown = block.ids == tokenizer.unk_id
    for index in np.flatnonzero(unknown) if tokenizer.written_unk is not None else ():
        begin, end = int(block.starts[index]) - block.offset, int(block.ends[index]) - block.offset
        unknown[index] = block.text[begin:end] != tokenizer.written_unk
    return unknown


def token_blocks(
    tokenizer: Tokenizer, files: Iterable[Iterable[str]], *, state: str, documents: str = "file", marks: bool = False
) -> Iterator[TokenBlock]:
    """The tokens of some files, each given as chunks of text: those that ``eval`` would count.

    state: carry is one stream of everything; document starts afresh at each document; line reads every line by itself,
    its line end included, and knows no documents. documents: file, line or blank-line, as in training; each is closed
    by ``<eos>`` where there are several, unless it ends in one. marks: put an IGNORE where a text ends in a word, so
    that the word's end is predicted too.
    """
    encoder = _Encoder(tokenizer, state, marks=marks)
    for number, chunks in enumerate(files):
        encoder.open_file(number)
        for parts in _parts(tokenizer, chunks, "line" if state == "line" else documents):
            yield from encoder.encode(parts)
        if state == "line":
            yield from encoder.finish()
    yield from encoder.finish()


class _Part(NamedTuple):
    """A stretch of text: whether a document begins with it, and whether it is surely the whole of it."""

    text: str
    begins: bool
    whole: bool


def _parts(tokenizer: Tokenizer, chunks: Iterable[str], rule: str) -> Iterator[list[_Part]]:
    """The text in parts that can be encoded by themselves; short documents come together, as the chunks bring them."""
    if rule == "file":
        for number, text in enumerate(filter(None, tokenizer.parts(slices(chunks, CHARACTERS)))):
            yield [_Part(text, number == 0, False)]
        return
    for texts in split_documents(slices(chunks, CHARACTERS), rule):
        short: list[_Part] = []
        for text in texts:
            if len(text) <= CHARACTERS:
                short.append(_Part(text, True, True))
                continue
            if short:
                yield short
            short = []
            yield from _parts(tokenizer, [text], "file")
        if short:
            yield short


class _Encoder:
    """Encodes parts, closes documents with ``<eos>``, and numbers words and lines."""

    def __init__(self, tokenizer: Tokenizer, state: str, *, marks: bool) -> None:
        self.tokenizer = tokenizer
        self.state = state
        self.marks = marks
        self.closes = state != "line"
        self.documents = 0
        self.open = False  # a document that may have to be closed
        self.last: int | None = None  # its last token
        self.file = 0
        self.position = _Position(0, tokenizer.eos_id)

    def open_file(self, number: int) -> None:
        """The parts from now on are those of another file; the last document of the one before may still be open."""
        self.file = number

    def encode(self, parts: Sequence[_Part]) -> Iterator[TokenBlock]:
        """A block of these parts, after the ``<eos>`` of the document before them."""
        begun = sum(part.begins for part in parts)
        if begun and self.open:
            yield from self._close()
        if self.position.file != self.file:
            self.position = _Position(self.file, self.tokenizer.eos_id)
        self.documents += begun
        complete = not self.closes or self.documents > 1  # what is there of whole documents is all of them
        found = [self._tokens(part, closed=part.whole and self.closes and complete) for part in parts]
        lengths = [len(ids) for ids, _ in found]
        begins = [index for index, part in zip(_sums(lengths), parts, strict=False) if part.begins]
        segments = np.array([] if self.state == "carry" else begins, dtype=np.int64)
        self.open = not (parts[-1].whole and complete)
        shifts = np.repeat(_sums([len(part.text) for part in parts])[:-1], lengths)
        spans = np.concatenate([spans for _, spans in found]) + shifts[:, None]
        whole = complete and self.state != "carry" and all(part.whole for part in parts)
        text, ids = "".join(part.text for part in parts), np.concatenate([ids for ids, _ in found])
        if whole or len(ids) <= CHARACTERS:
            yield self.position.block(text, ids, spans, segments, whole)
            return
        for begin, end in pairwise(_cuts(spans)):
            left, right = 0 if begin == 0 else int(spans[begin, 0]), int(spans[end, 0]) if end < len(ids) else len(text)
            restarts = segments if begin == 0 else segments[:0]
            yield self.position.block(text[left:right], ids[begin:end], spans[begin:end] - left, restarts, False)

    def finish(self) -> Iterator[TokenBlock]:
        """What comes after the last part: the ``<eos>`` of the last document, or the mark of the last word's end."""
        if self.open and self.closes and self.documents > 1:
            yield from self._close()
        elif self.marks and self.position.in_word:
            yield self._single(IGNORE)
        self.open = False

    def _close(self) -> Iterator[TokenBlock]:
        if self.closes and self.last != self.tokenizer.eos_id:
            yield self._single(self.tokenizer.eos_id)
        self.open = False

    def _single(self, token: int) -> TokenBlock:
        """A block of one token without characters, which continues the one before."""
        none = np.zeros((1, 2), dtype=np.int64)
        return self.position.block("", np.array([token], dtype=np.int64), none, np.empty(0, dtype=np.int64), False)

    def _tokens(self, part: _Part, *, closed: bool) -> Found:
        ids, spans = self.tokenizer.encode_with_offsets(part.text)
        if part.begins:
            self.last = None
        self.last = int(ids[-1]) if len(ids) else self.last
        added: list[int] = []
        if closed and self.last != self.tokenizer.eos_id:
            added.append(self.tokenizer.eos_id)
        elif part.whole and self.marks and self.state == "line" and not part.text.endswith("\n"):
            added.append(IGNORE)
        ends = np.full((len(added), 2), len(part.text), dtype=np.int64)
        return np.concatenate([ids.astype(np.int64), np.array(added, dtype=np.int64)]), np.concatenate([spans, ends])


class _Position:
    """How far a file has been read, in characters, words and lines."""

    def __init__(self, file: int, eos_id: int) -> None:
        self.file = file
        self.eos_id = eos_id
        self.offset = 0
        self.line = self.last_line = 1
        self.word = 0
        self.in_word = False  # the last token ended in a word's characters,
        self.at_border = True  # or a line or document ended with it; else it was white space before a word
        self.gap = False  # characters after the last token are no token's

    def block(self, text: str, ids: Integers, spans: Integers, segments: Integers, whole: bool) -> TokenBlock:
        """The tokens of the next stretch of text, numbered."""
        codes = code_points(text)
        line_ends = np.flatnonzero(codes == ord("\n"))
        spaces = np.append(white_space_table()[codes], False)
        starts, ends = spans[:, 0], spans[:, 1]
        real = starts < ends
        before = np.searchsorted(line_ends, starts)
        border = (np.searchsorted(line_ends, ends) > before) | (~real & ((ids == IGNORE) | (ids == self.eos_id)))
        pieces = real & ~border & ~spaces[np.maximum(ends, 1) - 1]
        lost = starts > np.append(0, ends)[:-1]
        if len(lost):
            lost[0] |= self.gap
        spaced = lost | (real & spaces[starts])
        new = (
            np.append(self.at_border, border)[:-1] | (border & ~real) | (np.append(self.in_word, pieces)[:-1] & spaced)
        )
        words = self.word + np.cumsum(new)
        lines = np.maximum.accumulate(np.append(self.last_line, np.where(real, self.line + before, 0)))[1:]
        offset = self.offset
        self._go_on(text, ends, len(line_ends))
        if len(ids):
            self.word, self.last_line = int(words[-1]), int(lines[-1])
            self.in_word, self.at_border = bool(pieces[-1]), bool(border[-1])
        return TokenBlock(
            self.file, text, offset, ids, starts + offset, ends + offset, words, lines, pieces, segments, whole
        )

    def _go_on(self, text: str, ends: Integers, line_ends: int) -> None:
        last = int(ends[-1]) if len(ends) else 0
        self.gap = last < len(text) or (self.gap and not len(ends))
        self.offset += len(text)
        self.line += line_ends


def _sums(lengths: Sequence[int]) -> Integers:
    """Where each of some parts begins, and where the last one ends."""
    return np.cumsum([0, *lengths])


def _cuts(spans: Integers) -> list[int]:
    """Where a block of too many tokens is cut: never between the tokens of one character."""
    whole = np.flatnonzero(spans[1:, 0] >= spans[:-1, 1]) + 1
    wanted = np.searchsorted(whole, np.arange(CHARACTERS, len(spans), CHARACTERS))
    return [0, *np.unique(whole[wanted[wanted < len(whole)]]).tolist(), len(spans)]
