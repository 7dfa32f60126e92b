"""Shares of a text: pieces of about one length whose tokens, one after the other, are those of the whole."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from lmkit.text.counts import Counts, TextMeter
from lmkit.text.sources.source import ChunkPiece, Reading, Slice, word_end_cut
from lmkit.text.token_file import write_tokens
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["ShareCounts", "added_up", "count_share", "first_ids", "shares_of"]


class ShareCounts(NamedTuple):
    """Counts of a share. documents: those that end in it; open_ends: how many of them do not end in ``<eos>``."""

    counts: Counts
    open_ends: int


def shares_of(text: Slice, tokenizer: Tokenizer, number: int) -> list[Slice]:
    """A text in so many shares. A border is the next place where a document ends, or where a word ends and the
    tokenizer may be interrupted: shares of a short text, or of one that it reads as a whole, may be empty.
    """
    borders, can_be_cut = [text.begin], tokenizer.cut("a a") >= 0
    for share in range(1, number):
        at = text.begin + text.chars * share // number
        borders.append(min(word_end_cut(text.documents, at), text.end) if can_be_cut else text.end)
    borders.append(text.end)
    return [Slice(text.documents, begin, end) for begin, end in pairwise(borders)]


def count_share(text: Slice, share: Slice, tokenizer: Tokenizer) -> ShareCounts:
    """What ``encode`` would count in a share of a text, before documents are closed."""
    meter, reading = TextMeter(tokenizer.written_unk), Reading(text.documents)
    tokens = oov = 0
    last: dict[int, int | None] = {}
    for number, group in groupby(reading.take(share.begin, share.end), key=itemgetter(0)):
        last[number] = None
        for ids in tokenizer.encode_chunks(meter.watch(chunk for _, chunk in group)):
            tokens += len(ids)
            oov += int(np.count_nonzero(ids == tokenizer.unk_id)) if tokenizer.unk_id is not None else 0
            last[number] = int(ids[-1]) if len(ids) else last[number]
    goes_on, _ = next(reading.take(share.end, text.end), (None, None))
    ends = [token for number, token in last.items() if number != goes_on]
    counts = Counts(
        words=meter.words,
        line_ends=meter.line_ends,
        chars=meter.chars,
        bytes=meter.bytes,
        oov=oov,
        tokens=tokens,
        documents=len(ends),
        oov_written=meter.written,
    )
    return ShareCounts(counts, sum(token != tokenizer.eos_id for token in ends))


def added_up(found: Sequence[ShareCounts]) -> Counts:
    """The counts of the whole from those of all shares: where there are several documents each ends in ``<eos>``."""
    total = sum((one.counts for one in found), Counts.zero)
    closing = sum(one.open_ends for one in found) if total.documents > 1 else 0
    return total + Counts(tokens=closing)


def first_ids(text: Slice, tokenizer: Tokenizer, number: int) -> list[int]:
    """So many ids from the beginning of a text, as its token file has them; fewer where it has fewer."""
    ids_file, size = io.BytesIO(), tokenizer.id_dtype.itemsize

    def beginning() -> Iterator[ChunkPiece]:
        for piece in text.encoded():
            yield piece
            if ids_file.tell() >= number * size:
                return

    write_tokens(tokenizer, beginning(), "file", ids_file, io.BytesIO())
    found: list[int] = np.frombuffer(ids_file.getvalue(), dtype=tokenizer.id_dtype)[:number].tolist()
    return found
