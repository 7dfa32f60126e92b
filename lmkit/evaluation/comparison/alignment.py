"""What two models can be compared on: the same tokens, or else the same stretches of the text."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import ConfigError, FailedError
from lmkit.text.documents import split_documents
from lmkit.text.sources.source import WHOLE, Piece, Slice, Source
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.text.whitespace import code_points

__all__ = [
    "UNKNOWN",
    "ScoredRun",
    "TokenOffsets",
    "Units",
    "coarsest",
    "refuse_lossy",
    "same_tokens",
    "span_units",
    "split_slice",
    "token_offsets",
    "token_units",
]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
UNKNOWN = -1  # stands for <unk> among the counts of training


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A model's losses on a text: ``losses`` (N,) in nats, one for each of the text's tokens under its tokenizer.

    ``documents`` is the rule by which the text was cut into documents, ``state`` the policy it was read under.
    ``seams_repaired`` counts the rows that were corrected by reading on from the one before.
    """

    name: str
    tokenizer: Tokenizer
    tokens: TokenFile
    losses: Floats
    documents: str = "file"
    state: str = "carry"
    seams_repaired: int = 0

    @property
    def lossless(self) -> bool:
        """Whether the text can be made again from these tokens, so that bits per byte are those of the text."""
        return self.tokenizer.lossless and self.tokens.counts.oov == 0


@dataclass(frozen=True, eq=False)
class Units:
    """The pieces of a text that all runs are compared on, in its order: tokens, or spans where tokens differ.

    ``losses`` (runs, N) in nats; ``sizes`` (N,) in tokens or bytes; ``positions`` (N,) in their document, from 1, in
    tokens or bytes; ``frequencies`` (N,) how often the rarest token of a unit occurs in the training text, -1 for
    ``<unk>``, or None where that is not known.
    """

    kind: str
    losses: Floats
    sizes: Integers
    positions: Integers
    frequencies: Integers | None


class TokenOffsets(NamedTuple):
    """Where each token of a text ends and where each document begins, in characters of the text."""

    ends: Integers
    document_starts: Integers


def same_tokens(runs: Sequence[ScoredRun]) -> bool:
    """Whether all runs read the text as the very same tokens."""
    first = runs[0]
    return all(
        run.tokenizer.to_json() == first.tokenizer.to_json() and np.array_equal(run.tokens.ids, first.tokens.ids)
        for run in runs[1:]
    )


def coarsest(runs: Sequence[ScoredRun]) -> int:
    """The run with the fewest tokens: its tokens are what frequency bands are made of."""
    return min(range(len(runs)), key=lambda number: len(runs[number].tokens))


def token_units(runs: Sequence[ScoredRun], counts: Integers | None) -> Units:
    """Tokens as units; ``counts`` (V,) says how often each occurs in the training text."""
    tokens = runs[0].tokens
    indices = np.arange(len(tokens), dtype=np.int64)
    positions = indices - tokens.document_starts[_document_of(indices, tokens.document_starts)] + 1
    losses = np.stack([run.losses for run in runs])
    frequencies = None if counts is None else _frequencies(runs[0], counts)
    return Units("token", losses, np.ones(len(tokens), dtype=np.int64), positions, frequencies)


def span_units(runs: Sequence[ScoredRun], pieces: Sequence[Piece], counts: Integers | None) -> Units:
    """The stretches between the characters at which a token ends under every tokenizer.

    ``pieces`` are the text; ``counts`` is that of the coarsest run. The last span goes to the end of the text.
    """
    widths = np.concatenate([_utf8_widths(text) for _, text in pieces])
    bytes_before = np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])
    found = [token_offsets(run, pieces) for run in runs]
    borders = functools.reduce(np.intersect1d, (np.unique(offsets.ends) for offsets in found))
    borders = np.union1d(borders[borders > 0], [len(widths)])
    begins = np.concatenate([[0], borders[:-1]])
    after = [np.searchsorted(offsets.ends, borders, side="right") for offsets in found]
    losses = np.stack([_sums(run.losses, ends) for run, ends in zip(runs, after, strict=True)])
    starts = found[0].document_starts
    positions = bytes_before[begins] - bytes_before[starts[_document_of(begins, starts)]] + 1
    number = coarsest(runs)
    frequencies = None if counts is None else _rarest(_frequencies(runs[number], counts), after[number])
    return Units("span", losses, bytes_before[borders] - bytes_before[begins], positions, frequencies)


def token_offsets(run: ScoredRun, pieces: Iterable[Piece]) -> TokenOffsets:
    """Where the tokens of a run lie in the text, the ``<eos>`` that close documents included.

    Tokens that share a character, each with some of its bytes, end together. Raises FailedError where the tokens of
    the pieces are not those of the run.
    """
    ids, spans, starts, offset = [], [], [], 0
    eos = run.tokenizer.eos_id
    for chunks in _documents(pieces, run.documents):
        starts.append(offset)
        last = None
        for part in run.tokenizer.parts(chunks):
            found, offsets = run.tokenizer.encode_with_offsets(part)
            ids.append(found)
            spans.append(offset + offsets)
            offset += len(part)
            last = int(found[-1]) if len(found) else last
        if last != eos and run.tokens.counts.documents > 1:
            ids.append(np.array([eos], dtype=run.tokenizer.id_dtype))
            spans.append(np.array([[offset, offset]]))
    if not np.array_equal(np.concatenate(ids), run.tokens.ids):
        raise FailedError(f"The tokens of {run.name} cannot be placed in the text: compare it on another one.")
    return TokenOffsets(_clean_ends(np.concatenate(spans)), np.array(starts, dtype=np.int64))


def split_slice(source: Source, ranges: Mapping[str, Sequence[int]], split: str) -> Slice:
    """The text of a split: ``ranges`` are those that a corpus records, in characters."""
    begin, end = ranges[split]
    return Slice(source.parts[WHOLE if WHOLE in source.parts else split], begin, end)


def refuse_lossy(runs: Sequence[ScoredRun]) -> None:
    """Raise ConfigError for a run whose tokens do not hold the whole text: its bits per byte are a lower bound."""
    for run in runs:
        if not run.lossless:
            oov = run.tokens.counts.oov
            reason = f"{oov:,} are <unk>" if oov else "white space is lost"
            raise ConfigError(
                f"The runs have different tokenizers, and the {run.tokenizer.kind} tokens of {run.name} do not hold "
                f"the whole text ({reason}): --allow-lossy compares lower bounds."
            )


def _documents(pieces: Iterable[Piece], rule: str) -> Iterator[Iterable[str]]:
    """The chunks of each document, cut as ``write_tokens`` cuts them."""
    for _, group in groupby(pieces, key=itemgetter(0)):
        chunks = (text for _, text in group)
        if rule == "file":
            yield chunks
        else:
            for documents in split_documents(chunks, rule):
                yield from ([text] for text in documents)


def _clean_ends(spans: Integers) -> Integers:
    """The ends of tokens (N, 2); of one that reaches into the next, the first end after it that no token crosses."""
    begins, ends = spans.T
    later = np.minimum.accumulate(begins[::-1])[::-1]
    clean = np.append(later[1:] >= ends[:-1], True)
    return np.minimum.accumulate(np.where(clean, ends, ends[-1])[::-1])[::-1]


def _document_of(positions: Integers, starts: Integers) -> Integers:
    return np.searchsorted(starts, positions, side="right") - 1


def _sums(losses: Floats, after: Integers) -> Floats:
    """Sums of the losses between neighbouring indices."""
    totals = np.concatenate([[0.0], np.cumsum(losses)])[after]
    return np.diff(totals, prepend=0.0)


def _frequencies(run: ScoredRun, counts: Integers) -> Integers:
    found = counts[run.tokens.ids]
    return found if run.tokenizer.unk_id is None else np.where(run.tokens.ids == run.tokenizer.unk_id, UNKNOWN, found)


def _rarest(frequencies: Integers, after: Integers) -> Integers:
    """The smallest frequency of each span; one without a token of its own takes that of the token before it."""
    begins = np.concatenate([[0], after[:-1]])
    found = frequencies[np.maximum(begins, 1) - 1]
    filled = begins < after
    found[filled] = np.minimum.reduceat(frequencies, begins[filled])
    return found


def _utf8_widths(text: str) -> NDArray[np.uint8]:
    codes = code_points(text)
    widths = 1 + (codes >= 0x80).astype(np.uint8) + (codes >= 0x800) + (codes >= 0x10000)
    return widths.astype(np.uint8)
