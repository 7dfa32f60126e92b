"""TokenFile: a split's ids, where its documents begin, and what was counted on the way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lmkit.text.cache.sealed import DamagedError
from lmkit.text.counts import Counts, TextMeter
from lmkit.text.documents import EACH_LINE, split_documents
from lmkit.text.sources.generated import KnownEntropy
from lmkit.text.sources.source import ChunkPiece
from lmkit.text.tokenizers.tokenizer import Ids, Tokenizer

__all__ = ["START_DTYPE", "TokenFile", "TokenWriter", "map_ids", "write_tokens"]

COUNTED_AT_ONCE = 1 << 22
START_DTYPE = np.dtype(np.int64)


@dataclass(frozen=True, eq=False)
class TokenFile:
    """One split as tokens.

    ``ids`` is (N,) of the smallest unsigned type, in memory or memory-mapped; ``document_starts`` is (D,) int64, its
    first entry 0; ``sha256`` is that of the split's text; ``documents`` is the rule that cut it; ``path`` is the file
    behind ``ids``, None in memory. Under the rule EACH_LINE documents are the lines that have a token. ``known`` is the
    entropy of a text that a known machine made, None where it is unknown or was not asked for.
    """

    ids: Ids
    document_starts: NDArray[np.int64]
    counts: Counts
    sha256: str
    path: Path | None = None
    documents: str = "file"
    known: KnownEntropy | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def frequencies(self, vocab_size: int) -> NDArray[np.int64]:
        """How often each id of a vocabulary occurs, (V,); memory is that of some millions of ids."""
        counts = np.zeros(vocab_size, dtype=np.int64)
        for start in range(0, len(self), COUNTED_AT_ONCE):
            counts += np.bincount(self.ids[start : start + COUNTED_AT_ONCE], minlength=vocab_size)
        return counts


class TokenWriter:
    """Appends ids and document starts to two open files; with several documents each is closed by one ``<eos>``."""

    def __init__(self, tokenizer: Tokenizer, ids_file: BinaryIO, starts_file: BinaryIO) -> None:
        self._tokenizer = tokenizer
        self._ids_file = ids_file
        self._starts_file = starts_file
        self._start = 0
        self._last: int | None = None
        self._owed = False  # an ``<eos>`` behind the last document, which is not written where it stays the only one
        self.tokens = self.documents = self.oov = 0

    def add(self, ids: Ids) -> None:
        """Append ids to the open document."""
        if not len(ids):
            return
        self._write(ids)
        self._last = int(ids[-1])

    def end_document(self) -> None:
        """Close the open document with ``<eos>``, unless it ends in one."""
        self._pay()
        self._owed = self.tokens == self._start or self._last != self._tokenizer.eos_id
        self._starts_file.write(np.array([self._start], dtype=START_DTYPE).tobytes())
        self.documents += 1
        self._start = self.tokens + self._owed
        self._last = None

    def add_documents(self, ids: Ids, lengths: NDArray[np.int64]) -> None:
        """Append whole documents: their ids in a row, and how many of them each one has."""
        eos = self._tokenizer.eos_id
        ends = np.cumsum(lengths)
        open_ = lengths == 0
        open_[~open_] = ids[ends[~open_] - 1] != eos
        owed = bool(open_[-1])
        self._write(np.insert(ids, ends[open_][: -1 if owed else None], eos))
        ends += np.cumsum(open_) + self._start
        starts = np.concatenate([[self._start], ends[:-1]]).astype(START_DTYPE)
        self._starts_file.write(starts.tobytes())
        self.documents += len(lengths)
        self._start = self.tokens + owed
        self._owed = owed

    def add_open(self, ids: Ids, lengths: NDArray[np.int64]) -> None:
        """Append texts that no ``<eos>`` closes, as ``add_documents``; one without a token is no document."""
        starts = self.tokens + np.cumsum(lengths) - lengths
        self._write(ids)
        self._starts_file.write(starts[lengths > 0].astype(START_DTYPE).tobytes())
        self.documents += int(np.count_nonzero(lengths))

    def finish(self) -> None:
        """Close the last of several documents; all is then written."""
        if self.documents > 1:
            self._pay()
        self._ids_file.flush()
        self._starts_file.flush()

    def _pay(self) -> None:
        """Write the ``<eos>`` that is owed: another document follows, or went before."""
        if self._owed:
            self._owed = False
            self._write(np.array([self._tokenizer.eos_id], dtype=self._tokenizer.id_dtype))

    def _write(self, ids: Ids) -> None:
        self._pay()
        unk = self._tokenizer.unk_id
        if unk is not None:
            self.oov += int(np.count_nonzero(ids == unk))
        self.tokens += len(ids)
        self._ids_file.write(np.ascontiguousarray(ids, dtype=self._tokenizer.id_dtype).tobytes())


def write_tokens(
    tokenizer: Tokenizer, pieces: Iterable[ChunkPiece], documents: str, ids_file: BinaryIO, starts_file: BinaryIO
) -> tuple[Counts, str]:
    """Encode a split's text into two files in one pass; gives its counts and the sha256 of its text."""
    writer = TokenWriter(tokenizer, ids_file, starts_file)
    meter = TextMeter(tokenizer.written_unk)
    for _, group in groupby(pieces, key=itemgetter(0)):
        chunks = meter.watch(chunk for _, chunk in group)
        if documents == "file":
            for ids in tokenizer.encode_chunks(chunks):
                writer.add(ids)
            writer.end_document()
            continue
        for texts in split_documents((chunk.text for chunk in chunks), "line" if documents == EACH_LINE else documents):
            add = writer.add_open if documents == EACH_LINE else writer.add_documents
            add(*tokenizer.encode_batch(texts))
    writer.finish()
    counts = Counts(
        words=meter.words,
        line_ends=meter.line_ends,
        chars=meter.chars,
        bytes=meter.bytes,
        oov=writer.oov,
        tokens=writer.tokens,
        documents=writer.documents,
        oov_written=meter.written,
    )
    return counts, meter.sha256


def map_ids(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """A file's numbers, memory-mapped for reading; an array in memory where there are none. Raises DamagedError for
    another size.
    """
    if length == 0:
        return np.empty(0, dtype=dtype)
    if os.stat(path).st_size != length * dtype.itemsize:
        raise DamagedError(f"{path} has {os.stat(path).st_size} bytes, not {length * dtype.itemsize}.")
    return np.memmap(path, dtype=dtype, mode="r", shape=(length,))
