"""Words as tokens, after the convention of the Penn Treebank and WikiText: each line end is ``<eos>``."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.text.tokenizers.lookup import rank_tokens, read_vocabulary, word_level_document
from lmkit.text.tokenizers.tokenizer import EOS, Ids, Spans, StreamDecoder, Tokenizer, no_surrogates, rechunk
from lmkit.text.whitespace import cut_at_space, split_words

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
        counts: Counter[str] = Counter()
        for part in rechunk(texts, cut_at_space):
            _check(part)
            counts.update(split_words(part))
        return cls(rank_tokens(counts.items(), vocab_size=vocab_size, min_count=min_count))

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
