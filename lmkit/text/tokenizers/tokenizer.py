"""Tokenizer: text to ids and back, saved as a ``tokenizer.json`` that Hugging Face ``tokenizers`` reads alike."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, AnyStr, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import DataError, TokenizerError
from lmkit.files import replace_file
from lmkit.text.sources.chunk import Chunk

__all__ = [
    "EOS",
    "LARGEST_FILE",
    "UNK",
    "Ids",
    "StreamDecoder",
    "Tokenizer",
    "id_dtype",
    "rechunk",
    "slices",
]

Ids: TypeAlias = NDArray[Any]
Spans: TypeAlias = NDArray[np.int64]

UNK = "<unk>"
EOS = "<eos>"
CHUNK = 1 << 20
LARGEST_FILE = 1 << 28  # bytes of a tokenizer.json; the largest in use have some 40 million
LONGEST_PART = 1 << 27  # characters
STRETCH = 1 << 16  # characters without a position to cut at, after which they are looked at together


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds the ids 0..vocab_size-1."""
    for dtype in (np.uint8, np.uint16, np.uint32):
        if vocab_size <= np.iinfo(dtype).max + 1:
            return np.dtype(dtype)
    raise TokenizerError(f"A vocabulary of {vocab_size} tokens is too large: 2**32 is the limit.")


def no_cut(text: AnyStr) -> int:
    """No position at all."""
    return -1


def rechunk(
    chunks: Iterable[AnyStr], cut: Callable[[AnyStr], int], cut_stretch: Callable[[AnyStr], int] = no_cut
) -> Iterator[AnyStr]:
    """Cut a text, or its UTF-8, again, only at the positions that are allowed; a part without such a position is held
    back and joined.

    ``cut(chunk)`` gives a position in any chunk, or -1. ``cut_stretch(text)`` may know one in what was held back, which
    begins where the text does or was cut last. Memory grows with the longest part that neither can cut; a small
    compressed file can hold a very long one, so DataError is raised past LONGEST_PART.
    """
    pending: list[AnyStr] = []
    held, enough = 0, STRETCH
    for part in slices(chunks, CHUNK):
        pending.append(part)
        held += len(part)
        position = cut(part)
        if position < 0 and held >= enough:
            pending = [_joined(pending)]
            position = cut_stretch(pending[0])
            enough = 2 * held  # so that a long stretch is not looked at again and again
        if position >= 0:
            last = pending.pop()
            pending.append(last[:position])
            yield _joined(pending)
            pending, held, enough = [last[position:]], len(last) - position, STRETCH
        if held > LONGEST_PART:
            raise DataError(
                f"The text has a stretch of more than {LONGEST_PART:,} {_units(part)} that this tokenizer cannot "
                "cut: put line ends or spaces into it, or use --tokenizer char."
            )
    if any(pending):
        yield _joined(pending)


def _joined(parts: list[AnyStr]) -> AnyStr:
    return parts[0][:0].join(parts)


def _units(text: str | bytes) -> str:
    return "characters" if isinstance(text, str) else "bytes"


def slices(chunks: Iterable[AnyStr], size: int) -> Iterator[AnyStr]:
    """The chunks of a text, those that are longer than ``size`` characters in pieces of that size."""
    for chunk in chunks:
        for begin in range(0, len(chunk), size):
            yield chunk[begin : begin + size]


class StreamDecoder(ABC):
    """Turns ids into text one at a time; what ``push`` and ``flush`` return, joined, equals ``decode`` of the ids."""

    @abstractmethod
    def push(self, token_id: int) -> str:
        """The text that this id completes: whole characters only, "" while bytes are held back."""

    @abstractmethod
    def flush(self) -> str:
        """What is still held back, with U+FFFD for bytes that never became a character."""


class Tokenizer(ABC):
    """A vocabulary and the rule that splits text into it.

    ``eos_id`` closes a document; ``unk_id`` stands for what is not in the vocabulary, None where nothing can miss.
    ``lossless``: text of known tokens survives the round trip. ``eos_is_line_end``: line ends in text are ``<eos>``.
    ``joins_chunks``: a token can reach over the border of two chunks. ``ids_by_frequency``: ids after the special ones
    descend by their training frequency. ``id_dtype`` is the smallest unsigned type that holds every id. ``unit``: what
    its vocabulary is a list of, and can be extended by; None where tokens are made of each other.
    """

    kind: ClassVar[str]
    joins_chunks: ClassVar[bool] = True
    eos_is_line_end: ClassVar[bool] = False
    ids_by_frequency: ClassVar[bool] = False
    unit: ClassVar[str | None] = None
    eos_id: int
    unk_id: int | None
    lossless: bool

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        self.id_dtype = id_dtype(len(self.vocabulary))
        self._ids = {token: index for index, token in enumerate(self.vocabulary)}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.kind} tokens, vocabulary {len(self.vocabulary):,}>"

    @classmethod
    @abstractmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        """Learn a vocabulary from a text given as chunks in order; memory is that of the vocabulary.

        ``vocab_size`` is the largest allowed size, special tokens included; what occurs fewer than ``min_count`` times
        is left out.
        """

    @classmethod
    def train_chunks(cls, chunks: Iterable[Chunk], *, vocab_size: int | None = None, min_count: int = 1) -> Self:
        """``train`` on a text in UTF-8."""
        return cls.train((chunk.text for chunk in chunks), vocab_size=vocab_size, min_count=min_count)

    def extended(self, tokens: Sequence[str]) -> Self:
        """The same tokenizer with more tokens behind those that it has, whose ids stay; for kinds with a ``unit``."""
        assert self.unit is not None, f"{self.kind} tokens are no list"
        return type(self)([*self.vocabulary, *tokens])

    @classmethod
    def training_version(cls) -> str:
        """Changes when training on the same text may give another vocabulary."""
        return "1"

    @classmethod
    @abstractmethod
    def from_document(cls, document: dict[str, Any]) -> Self | None:
        """The tokenizer that a parsed tokenizer.json describes, None if its structure is not this kind's."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The content of tokenizer.json."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        """Ids of several texts, each encoded by itself: all ids in one (N,) array, and the (len(texts),) lengths."""

    @abstractmethod
    def encode_with_offsets(self, text: str) -> tuple[Ids, Spans]:
        """Ids (N,) and each one's span of characters (N, 2) in the text, begin included, end excluded; a token that
        holds a part of a character has the whole of it as its span.
        """

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids."""

    @abstractmethod
    def stream_decoder(self) -> StreamDecoder:
        """A fresh decoder that takes ids one at a time."""

    @abstractmethod
    def cut(self, chunk: str) -> int:
        """A late position in a chunk of text where it can be cut without changing any id, -1 if none is known."""

    def cut_stretch(self, text: str) -> int:
        """The same in a text that begins where it was cut before, or at its very begin, and where ``cut`` knows none.

        A kind may leave this out: such a stretch is then encoded in one piece, whatever its length.
        """
        return no_cut(text)

    def parts(self, chunks: Iterable[str]) -> Iterator[str]:
        """A text given in chunks, cut again so that the ids of the parts are those of the whole."""
        return rechunk(chunks, self.cut, self.cut_stretch)

    @property
    def alphabet(self) -> str | None:
        """The characters of the texts that a lossless tokenizer gives back; None where it gives back every text."""
        return None

    @property
    def token_texts(self) -> list[str]:
        """What each token (V,) stands for in a text, white space included; of a special one its name, or nothing."""
        return self.vocabulary

    @functools.cached_property
    def written_unk(self) -> str | None:
        """The word by which a text can itself hold ``<unk>``; None where that is read as other tokens."""
        name = None if self.unk_id is None else self.id_to_token(self.unk_id)
        return name if name and self.encode(name).tolist() == [self.unk_id] else None

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self.vocabulary)

    def encode(self, text: str) -> Ids:
        """Ids of a text, (N,) of ``id_dtype``; a lone surrogate raises TokenizerError."""
        return self.encode_batch([text])[0]

    def encode_stream(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Ids of a long text given in chunks, piece by piece; joined they equal ``encode`` of the joined text."""
        for part in self.parts(chunks):
            yield self.encode(part)

    def encode_chunks(self, chunks: Iterable[Chunk]) -> Iterator[Ids]:
        """``encode_stream`` of a text in UTF-8."""
        return self.encode_stream(chunk.text for chunk in chunks)

    def id_to_token(self, token_id: int) -> str:
        """The token with this id; an id outside the vocabulary raises TokenizerError."""
        if not 0 <= token_id < self.vocab_size:
            raise TokenizerError(f"There is no token {token_id}: ids go from 0 to {self.vocab_size - 1}.")
        return self.vocabulary[token_id]

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, None if it is not in the vocabulary."""
        return self._ids.get(token)

    def to_json(self) -> str:
        """The text of tokenizer.json, the same for equal tokenizers."""
        return json.dumps(self.document(), ensure_ascii=False, separators=(",", ":"))

    @property
    def sha256(self) -> str:
        """That of tokenizer.json: equal tokenizers have the same."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokenizer.json so that a reader finds the old file or the new one, never half of it."""
        replace_file(Path(path), self.to_json().encode("utf-8"))


def no_surrogates(error: Exception) -> TokenizerError:
    """The error for a text that is not Unicode text."""
    return TokenizerError(f"The text holds a lone surrogate, which no UTF-8 text has ({error}): clean it first.")


def chunk_of(text: str) -> Chunk:
    """A text as a chunk. Raises TokenizerError for a lone surrogate."""
    try:
        return Chunk.of(text)
    except DataError as error:
        raise no_surrogates(error) from error


def join_ids(parts: Sequence[Sequence[int]], dtype: np.dtype[Any]) -> tuple[Ids, NDArray[np.int64]]:
    """Lists of ids as one array, and the lists' lengths."""
    lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
    return np.fromiter(chain.from_iterable(parts), dtype=dtype, count=int(lengths.sum())), lengths
