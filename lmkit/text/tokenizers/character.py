"""Characters as tokens: one id for each code point."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.text.tokenizers.lookup import rank_tokens, read_vocabulary, word_level_document
from lmkit.text.tokenizers.tokenizer import Ids, Spans, StreamDecoder, Tokenizer, no_surrogates
from lmkit.text.whitespace import code_points

__all__ = ["CharacterTokenizer"]

# Every version of `tokenizers` reads this split; the newer FixedLength(1) gives the same pieces.
SPLIT = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}


class CharacterTokenizer(Tokenizer):
    """Each code point is a token. A text of known characters survives the round trip exactly.

    ``<unk>`` is 0 and ``<eos>`` is 1; no text can write them: a literal ``<unk>`` is five ordinary characters.
    """

    kind: ClassVar[str] = "char"
    joins_chunks: ClassVar[bool] = False
    ids_by_frequency: ClassVar[bool] = True
    unit: ClassVar[str | None] = "characters"
    unk_id = 0
    eos_id = 1
    lossless = True

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        """Count the characters and keep the frequent ones, ordered by count, then by code point."""
        counts = np.zeros(sys.maxunicode + 1, dtype=np.int64)
        for text in texts:
            found = np.bincount(_codes(text))
            counts[: found.size] += found
        pairs = ((chr(code), int(counts[code])) for code in np.flatnonzero(counts))
        return cls(rank_tokens(pairs, vocab_size=vocab_size, min_count=min_count))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self | None:
        tokens = read_vocabulary(document, _document([]))
        if tokens is None or any(len(token) != 1 for token in tokens[2:]):
            return None
        return cls(tokens)

    def document(self) -> dict[str, Any]:
        return _document(self.vocabulary)

    @property
    def alphabet(self) -> str:
        return "".join(self.vocabulary[2:])

    @functools.cached_property
    def _table(self) -> Ids:
        table = np.full(sys.maxunicode + 1, self.unk_id, dtype=self.id_dtype)
        table[[ord(token) for token in self.vocabulary[2:]]] = np.arange(2, self.vocab_size)
        return table

    def encode(self, text: str) -> Ids:
        result: Ids = self._table[_codes(text)]
        return result

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        return self.encode("".join(texts)), np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))

    def encode_with_offsets(self, text: str) -> tuple[Ids, Spans]:
        starts = np.arange(len(text), dtype=np.int64)
        return self.encode(text), np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(map(self.id_to_token, ids))

    def stream_decoder(self) -> StreamDecoder:
        return _CharacterDecoder(self)

    def cut(self, chunk: str) -> int:
        return len(chunk)


class _CharacterDecoder(StreamDecoder):
    def __init__(self, tokenizer: CharacterTokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, token_id: int) -> str:
        return self._tokenizer.id_to_token(token_id)

    def flush(self) -> str:
        return ""


def _codes(text: str) -> NDArray[Any]:
    try:
        return code_points(text)
    except UnicodeEncodeError as error:
        raise no_surrogates(error) from error


def _document(vocabulary: list[str]) -> dict[str, Any]:
    return word_level_document(vocabulary, normalizer=None, pre_tokenizer=SPLIT, decoder={"type": "Fuse"})
