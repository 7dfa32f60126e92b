"""Characters as tokens: one id for each code point."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lmkit.text.sources.chunk import Chunk
from lmkit.text.tokenizers.lookup import rank_tokens, read_vocabulary, word_level_document
from lmkit.text.tokenizers.tokenizer import Ids, Spans, StreamDecoder, Tokenizer, chunk_of
from lmkit.text.whitespace import code_points

__all__ = ["CharacterTokenizer"]

# Every version of `tokenizers` reads this split; the newer FixedLength(1) gives the same pieces.
SPLIT = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}


ASCII = 128
OTHER = 255
LATER_BYTES = bytes(range(0x80, 0xC0))  # of a character of several bytes, all but the first
PAIRED = 1 << 18  # bytes from which on a table of all pairs is worth its making


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
        return cls.train_chunks(map(chunk_of, texts), vocab_size=vocab_size, min_count=min_count)

    @classmethod
    def train_chunks(cls, chunks: Iterable[Chunk], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        counts = np.zeros(sys.maxunicode + 1, dtype=np.int64)
        for chunk in chunks:
            counts[:ASCII] += _count_bytes(chunk.data)[:ASCII]
            codes, found = np.unique(chunk.rare, return_counts=True)
            counts[codes] += found
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

    @functools.cached_property
    def _byte_table(self) -> bytes:
        """Ids by byte, OTHER for characters that need another look: those with a larger id, and those beyond ASCII."""
        return np.minimum(self._table[:ASCII], OTHER).astype(np.uint8).tobytes() + bytes([OTHER] * (256 - ASCII))

    def encode(self, text: str) -> Ids:
        return self._ids_of(chunk_of(text))

    def encode_chunks(self, chunks: Iterable[Chunk]) -> Iterator[Ids]:
        return map(self._ids_of, chunks)

    def _ids_of(self, chunk: Chunk) -> Ids:
        """One look-up of each byte that begins a character, and a second one of the few that need it."""
        data = chunk.data.translate(self._byte_table, b"" if chunk.data.isascii() else LATER_BYTES)
        found = np.frombuffer(data, dtype=np.uint8)
        ids = found.astype(self.id_dtype)
        (others,) = np.nonzero(found == OTHER)
        if len(others) == len(chunk.rare):
            ids[others] = self._table[chunk.rare]
            return ids
        result: Ids = self._table[code_points(chunk.text)]  # a frequent character with a large id
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


def _count_bytes(data: bytes) -> NDArray[np.int64]:
    """How often each byte occurs, (256,); of a long text two bytes at a time are counted, in half the time."""
    if len(data) < PAIRED:
        return np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    pairs = np.bincount(np.frombuffer(data, dtype=np.uint16, count=len(data) // 2), minlength=1 << 16)
    counts: NDArray[np.int64] = pairs.reshape(256, 256).sum(axis=0) + pairs.reshape(256, 256).sum(axis=1)
    if len(data) % 2:
        counts[data[-1]] += 1
    return counts


def _document(vocabulary: list[str]) -> dict[str, Any]:
    return word_level_document(vocabulary, normalizer=None, pre_tokenizer=SPLIT, decoder={"type": "Fuse"})
