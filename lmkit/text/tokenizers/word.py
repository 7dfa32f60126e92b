"""Words as tokens, after the convention of the Penn Treebank and WikiText: each line end is ``<eos>``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.text.sources.chunk import Chunk
from lmkit.text.tokenizers.lookup import rank_tokens, read_vocabulary, word_level_document
from lmkit.text.tokenizers.tokenizer import EOS, Ids, Spans, StreamDecoder, Tokenizer, chunk_of, no_surrogates, rechunk
from lmkit.text.tokenizers.word_table import Words, WordTable, find_words
from lmkit.text.whitespace import cut_at_space, split_words, white_space_table

__all__ = ["WordTokenizer"]

LINE_END = f" {EOS} "
NORMALIZER = {"type": "Replace", "pattern": {"String": "\n"}, "content": LINE_END}
WORD_OR_LINE_END = re.compile(r"\n|[\S\x1c-\x1f]+")


class WordTokenizer(Tokenizer):
    """Each whitespace-separated word is a token and each line end is ``<eos>``; other whitespace is lost.

    ``<unk>`` is 0 and ``<eos>`` is 1. Where the text itself holds ``<unk>``, as WikiText's does, it is that same token.
    """

    kind: ClassVar[str] = "word"
    eos_is_line_end: ClassVar[bool] = True
    ids_by_frequency: ClassVar[bool] = True
    unit: ClassVar[str | None] = "words"
    unk_id = 0
    eos_id = 1
    lossless = False

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        """Count the words and keep the frequent ones, ordered by count, then by word."""
        return cls.train_chunks(map(chunk_of, texts), vocab_size=vocab_size, min_count=min_count)

    @classmethod
    def train_chunks(cls, chunks: Iterable[Chunk], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        counter = _WordCounter()
        for part in _parts(chunks):
            counter.add(part)
        return cls(rank_tokens(counter.counts(), vocab_size=vocab_size, min_count=min_count))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self | None:
        tokens = read_vocabulary(document, _document([]))
        return None if tokens is None else cls(tokens)

    def document(self) -> dict[str, Any]:
        return _document(self.vocabulary)

    @functools.cached_property
    def _lookup(self) -> _Lookup:
        return _Lookup(self._ids)

    def encode(self, text: str) -> Ids:
        _check(text)
        words = split_words(text.replace("\n", LINE_END))
        return np.fromiter(map(self._lookup.__getitem__, words), dtype=self.id_dtype, count=len(words))

    def encode_chunks(self, chunks: Iterable[Chunk]) -> Iterator[Ids]:
        return map(self._ids_of, _parts(chunks))

    @functools.cached_property
    def _table(self) -> WordTable:
        table = WordTable()
        table.add([token.encode("utf-8", "surrogatepass") for token in self.vocabulary], range(self.vocab_size))
        return table

    def _ids_of(self, part: Chunk) -> Ids:
        """All words of a part at once; those that are too long for the table one by one."""
        words = _words(part)
        if words is None:
            return self.encode(part.text)
        found = self._table.find(words)
        found[words.is_line_end] = self.eos_id
        for index in np.flatnonzero(found < 0).tolist():
            found[index] = self._lookup[words.one(index).decode("utf-8")]
        return found.astype(self.id_dtype)

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        _check("".join(texts))
        parts = [split_words(text.replace("\n", LINE_END)) for text in texts]
        lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        find = self._lookup.__getitem__
        ids = (find(word) for part in parts for word in part)
        return np.fromiter(ids, dtype=self.id_dtype, count=int(lengths.sum())), lengths

    def encode_with_offsets(self, text: str) -> tuple[Ids, Spans]:
        _check(text)
        found = list(WORD_OR_LINE_END.finditer(text))
        tokens = (EOS if match[0] == "\n" else match[0] for match in found)
        ids = np.fromiter(map(self._lookup.__getitem__, tokens), dtype=self.id_dtype, count=len(found))
        return ids, np.array([match.span() for match in found], dtype=np.int64).reshape(-1, 2)

    def decode(self, ids: Iterable[int]) -> str:
        decoder = _WordDecoder(self)
        return "".join(map(decoder.push, ids))

    def stream_decoder(self) -> StreamDecoder:
        return _WordDecoder(self)

    def cut(self, chunk: str) -> int:
        return cut_at_space(chunk)


class _WordCounter:
    """Counts words: what a table knows is counted at once, and what it does not know yet is put into it."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._table = WordTable()
        self._counts = np.zeros(1 << 10, dtype=np.int64)

    def add(self, part: Chunk) -> None:
        """Count the words of a part of a text."""
        words = _words(part)
        if words is None:
            self._count(np.array(self._number([word.encode("utf-8") for word in split_words(part.text)])))
            return
        found = self._table.find(words)[~words.is_line_end]
        (unknown,) = np.nonzero(~words.is_line_end)
        (missing,) = np.nonzero(found < 0)
        found[missing] = self._number([words.one(index) for index in unknown[missing].tolist()])
        self._count(found)

    def counts(self) -> Iterator[tuple[str, int]]:
        """Each word and how often it came."""
        return ((word.decode("utf-8"), int(self._counts[number])) for word, number in self._numbers.items())

    def _number(self, words: Sequence[bytes]) -> list[int]:
        known = len(self._numbers)
        numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in words]
        new = dict(zip(words, numbers, strict=True))
        new = {word: number for word, number in new.items() if number >= known}
        self._table.add(list(new), new.values())
        return numbers

    def _count(self, numbers: NDArray[np.int64]) -> None:
        if len(self._numbers) > len(self._counts):
            self._counts = np.pad(self._counts, (0, 2 * len(self._numbers) - len(self._counts)))
        np.add.at(self._counts, numbers.astype(np.int64), 1)


class _WordDecoder(StreamDecoder):
    """Words joined by one space, line ends without spaces around them."""

    def __init__(self, tokenizer: WordTokenizer) -> None:
        self._tokenizer = tokenizer
        self._line_begins = True

    def push(self, token_id: int) -> str:
        if token_id == self._tokenizer.eos_id:
            self._line_begins = True
            return "\n"
        space = "" if self._line_begins else " "
        self._line_begins = False
        return space + self._tokenizer.id_to_token(token_id)

    def flush(self) -> str:
        return ""


class _Lookup(dict[str, int]):
    """Ids by word; whatever is missing is ``<unk>``."""

    def __missing__(self, word: str) -> int:
        return WordTokenizer.unk_id


def _parts(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """A text cut again at spaces and line ends."""
    return map(Chunk, rechunk((chunk.data for chunk in chunks), lambda data: max(data.rfind(b" "), data.rfind(b"\n"))))


def _words(part: Chunk) -> Words | None:
    """The words of a part; None where one of the rare kinds of white space, of several bytes, separates some."""
    return None if white_space_table()[part.rare].any() else find_words(part.data)


def _check(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise no_surrogates(error) from error


def _document(vocabulary: list[str]) -> dict[str, Any]:
    return word_level_document(
        vocabulary, normalizer=NORMALIZER, pre_tokenizer={"type": "WhitespaceSplit"}, decoder=None
    )
