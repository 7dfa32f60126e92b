"""Minibatch samplers: they cut a stream of tokens into windows, and are pure functions of (seed, epoch, index).

Target i of a stream is ``stream[i]`` and its input ``stream[i - 1]``, with ``<eos>`` before the first: N tokens give
N targets, and every one of them comes exactly once an epoch. In epoch e the first window has 1..window steps, drawn
from (seed, e), so borders move from epoch to epoch and no target is lost.
"""

from __future__ import annotations

import functools
import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.errors import ConfigError, DataError
from lmkit.model.head import IGNORE

__all__ = [
    "IGNORE",
    "SAMPLERS",
    "DocumentSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Shuffle",
    "StreamRows",
    "Window",
    "check_layout",
    "first_window_steps",
    "stream_rows",
    "stream_windows",
]

ALL_ROWS = slice(None)


class Window(NamedTuple):
    """One minibatch: what is read, what is to be predicted, and which rows start afresh.

    inputs: (B, T) int64 token ids. targets: (B, T) int64, IGNORE where nothing is to be predicted. reset: (B,) bool,
    rows whose state is zero before the first step of this window. advance: the next window of a row starts this many
    steps later.
    """

    inputs: Tensor
    targets: Tensor
    reset: Tensor
    advance: int


class Sampler(ABC):
    """Cuts a stream into windows.

    stream: (N,) token ids of any integer type, usually a memory-mapped file. eos_id: what is read before the first
    token. batch_size, window: rows and longest steps of a window. Memory is constant in N, and a process computes
    only its own rows.
    """

    def __init__(self, stream: np.ndarray, *, eos_id: int, batch_size: int, window: int, seed: int = 0) -> None:
        if len(stream) < batch_size:
            raise DataError(
                f"A text of {len(stream):,} tokens is too short for {batch_size:,} rows: "
                f"use --batch-size {max(1, len(stream))} or less."
            )
        self.stream = stream
        self.eos_id = eos_id
        self.batch_size = batch_size
        self.window = window
        self.seed = seed

    @property
    def num_targets(self) -> int:
        """Targets of an epoch: as many as the stream has tokens."""
        return len(self.stream)

    @abstractmethod
    def num_windows(self, epoch: int) -> int:
        """Windows of an epoch (a whole pass over the documents where their lengths decide it)."""

    @abstractmethod
    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        """The windows of an epoch from index ``start`` on, for some of the rows."""

    def _spans(self, starts: np.ndarray, lengths: np.ndarray, reset: np.ndarray, steps: int) -> Window:
        """A window whose row r covers the targets starts[r] .. starts[r] + lengths[r], padded to ``steps``."""
        inputs = np.full((len(starts), steps), self.eos_id, dtype=np.int64)
        targets = np.full((len(starts), steps), IGNORE, dtype=np.int64)
        for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            if length > 0:
                targets[row, :length] = self.stream[start : start + length]
                inputs[row, 1:length] = targets[row, : length - 1]
                inputs[row, 0] = self.stream[start - 1] if start > 0 else self.eos_id
        return Window(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(reset), steps)


class SequentialSampler(Sampler):
    """Rows are contiguous parts of the stream and windows follow each other in them, so the hidden state can be
    carried.

    The rows' lengths differ by at most one; the longer ones come first. ``state="reset"`` marks every window as a new
    beginning.
    """

    def __init__(
        self, stream: np.ndarray, *, eos_id: int, batch_size: int, window: int, seed: int = 0, state: str = "carry"
    ) -> None:
        super().__init__(stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed)
        self.state = state
        self.row_starts, self.row_lengths, _ = stream_rows(len(stream), rows=batch_size)

    def num_windows(self, epoch: int) -> int:
        first = first_window_steps(self.seed, epoch, self.window)
        return 1 + -(-max(0, int(self.row_lengths[0]) - first) // self.window)

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        first = first_window_steps(self.seed, number, self.window)
        starts, lengths = self.row_starts[rows], self.row_lengths[rows]
        for index in range(start, self.num_windows(number)):
            begin = 0 if index == 0 else first + (index - 1) * self.window
            end = min(first + index * self.window, int(self.row_lengths[0]))
            reset = np.full(len(starts), index == 0 or self.state == "reset")
            yield self._spans(starts + begin, np.minimum(lengths, end) - begin, reset, end - begin)


class RandomSampler(Sampler):
    """Windows of the stream in random order, each from a state of zero.

    The order is a keyed bijection, computed and not stored. The last batch may have rows without targets.
    """

    def num_windows(self, epoch: int) -> int:
        return -(-self._num_pieces(epoch) // self.batch_size)

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        first = first_window_steps(self.seed, number, self.window)
        pieces = self._num_pieces(number)
        shuffle = Shuffle(pieces, self.seed, number)
        for index in range(start, self.num_windows(number)):
            ranks = index * self.batch_size + np.arange(self.batch_size)[rows]
            chosen = np.array([shuffle(rank) if rank < pieces else 0 for rank in ranks.tolist()], dtype=np.int64)
            starts = np.where(chosen == 0, 0, first + (chosen - 1) * self.window)
            ends = np.minimum(first + chosen * self.window, len(self.stream))
            lengths = np.where(ranks < pieces, ends - starts, 0)
            yield self._spans(starts, lengths, np.ones(len(starts), dtype=bool), self.window)

    def _num_pieces(self, epoch: int) -> int:
        first = first_window_steps(self.seed, epoch, self.window)
        return 1 + -(-max(0, len(self.stream) - first) // self.window)


class DocumentSampler(Sampler):
    """Each row reads one document after the other; a document begins with a state of zero and ``<eos>`` as its first
    input, and carries the state to its end.

    A row's part ends at the border of its document (the rest is padding) and the next window resets it. Documents
    come in a new random order each epoch (in the stream's with ``shuffled=False``) and go to the row that is free
    first. ``documents`` (D,) holds where each document starts.
    """

    def __init__(
        self,
        stream: np.ndarray,
        *,
        eos_id: int,
        batch_size: int,
        window: int,
        seed: int = 0,
        documents: np.ndarray,
        shuffled: bool = True,
    ) -> None:
        super().__init__(stream, eos_id=eos_id, batch_size=batch_size, window=window, seed=seed)
        self.documents = documents
        self.shuffled = shuffled
        self._counts: dict[int, int] = {}

    def num_windows(self, epoch: int) -> int:
        if epoch not in self._counts:
            self._counts = {epoch: max(free for free, _, _ in self._assignments(epoch, from_end=True))}
        return self._counts[epoch]

    def epoch(self, number: int, start: int = 0, rows: slice = ALL_ROWS) -> Iterator[Window]:
        wanted = range(self.batch_size)[rows]
        reading: list[tuple[int, int, int] | None] = [
            None
        ] * self.batch_size  # window index, start, end of a row's document
        waiting = self._assignments(number)
        following = next(waiting, None)
        for index in range(self.num_windows(number)):
            while following is not None and following[0] == index:
                reading[following[1]] = (index, *self._bounds(following[2]))
                following = next(waiting, None)
            if index >= start:
                yield self._window(index, reading, wanted)

    def _window(self, index: int, reading: list[tuple[int, int, int] | None], wanted: range) -> Window:
        begins = np.array([0 if part is None else part[1] + (index - part[0]) * self.window for part in reading])
        ends = np.array([0 if part is None else part[2] for part in reading])
        lengths = np.clip(ends - begins, 0, self.window)
        reset = np.array([part is None or part[0] == index for part in reading])
        chosen = list(wanted)
        window = self._spans(begins[chosen], lengths[chosen], reset[chosen], max(1, int(lengths.max())))
        window.inputs[window.reset, 0] = self.eos_id  # a line that is read alone has none before it
        return window

    def _bounds(self, document: int) -> tuple[int, int]:
        last = document + 1 == len(self.documents)
        return int(self.documents[document]), len(self.stream) if last else int(self.documents[document + 1])

    def _assignments(self, epoch: int, from_end: bool = False) -> Iterator[tuple[int, int, int]]:
        """(window index, row, document) of each document in order of its beginning; of its end with ``from_end``."""
        shuffle: Callable[[int], int] = Shuffle(len(self.documents), self.seed, epoch) if self.shuffled else int
        free = [(0, row) for row in range(self.batch_size)]
        for rank in range(len(self.documents)):
            document = shuffle(rank)
            index, row = heapq.heappop(free)
            start, end = self._bounds(document)
            after = index + -(-(end - start) // self.window)
            heapq.heappush(free, (after, row))
            yield (after if from_end else index), row, document


SAMPLERS: dict[str, type[Sampler]] = {
    "sequential": SequentialSampler,
    "random": RandomSampler,
    "document": DocumentSampler,
}


class Shuffle:
    """A bijection of 0..size-1 keyed by (seed, epoch), computed number by number in constant memory.

    A balanced Feistel network over the next power of four, walked until it lands inside the range (Black & Rogaway
    2002, "Ciphers with arbitrary finite domains").
    """

    ROUNDS = 6

    def __init__(self, size: int, seed: int, epoch: int) -> None:
        self.size = size
        self.half_bits = max(1, -(-max(1, (size - 1).bit_length()) // 2))
        self.mask = (1 << self.half_bits) - 1
        keys = np.random.SeedSequence([seed, epoch, 0x5A]).generate_state(self.ROUNDS, np.uint64)
        self.keys = [int(key) for key in keys]

    def __call__(self, index: int) -> int:
        """Where the given number goes."""
        assert 0 <= index < self.size
        while True:
            left, right = index >> self.half_bits, index & self.mask
            for key in self.keys:
                left, right = right, left ^ (_mix(right ^ key) & self.mask)
            index = (left << self.half_bits) | right
            if index < self.size:
                return index


def _mix(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the result depends on every bit of the value."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


@functools.lru_cache(maxsize=64)
def first_window_steps(seed: int, epoch: int, window: int) -> int:
    """Steps of an epoch's first window: uniform on 1..window, a function of (seed, epoch)."""
    draw = int(np.random.SeedSequence([seed, epoch, 0xF1]).generate_state(1, np.uint64)[0])
    return 1 + draw % window


def check_layout(*, rows: int, window: int, warmup: int = 0) -> None:
    """Raise ConfigError where windows cannot be cut so."""
    for name, value, least in (("rows", rows, 1), ("window", window, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ConfigError(f"--{name} must be at least {least}, not {value}.")


class StreamRows(NamedTuple):
    """How a stream is cut into R contiguous rows, (R,) each: the position of a row's first target, how many it has, and
    how many tokens before them it reads as its warm-up.
    """

    starts: np.ndarray
    lengths: np.ndarray
    heads: np.ndarray


def stream_rows(num_tokens: int, *, rows: int, warmup: int = 0) -> StreamRows:
    """At most ``rows`` rows, no two of which differ by more than one target; the longer ones come first."""
    rows = min(rows, num_tokens)
    short, longer = divmod(num_tokens, rows)
    lengths = short + (np.arange(rows) < longer)
    starts = np.cumsum(lengths) - lengths
    return StreamRows(starts, lengths, np.minimum(starts, warmup))


def stream_windows(
    stream: np.ndarray, *, eos_id: int, window: int, rows: int = 1, warmup: int = 0, state: str = "carry"
) -> Iterator[Window]:
    """Windows for evaluation: ``rows`` contiguous rows, each first reading ``<eos>`` and up to ``warmup`` tokens before
    it without predicting them; without a warm-up its first input is the token before it.

    Every token of the stream is a target exactly once whatever the arguments are; one row is the stream itself. With
    ``state="reset"`` each window starts from a state of zero and there is no warm-up. Raises DataError for an empty
    stream.
    """
    if state not in ("carry", "reset"):
        raise ConfigError(f"The state policy of a stream is carry or reset, not {state!r}.")
    check_layout(rows=rows, window=window, warmup=warmup)
    if len(stream) == 0:
        raise DataError("There is no token to evaluate: the text is empty.")
    starts, lengths, heads = stream_rows(len(stream), rows=rows, warmup=warmup if state == "carry" else 0)
    sampler = SequentialSampler(stream, eos_id=eos_id, batch_size=len(starts), window=window)
    begins, lengths = starts - heads, lengths + heads
    for begin in range(0, int(lengths.max()), window):
        steps = min(window, int(lengths.max()) - begin)
        reset = np.full(len(begins), begin == 0 or state == "reset")
        block = sampler._spans(begins + begin, np.clip(lengths - begin, 0, steps), reset, steps)
        if begin == 0:  # a state of zero and <eos> is a beginning that every model was trained on
            block.inputs[torch.from_numpy(heads > 0), 0] = eos_id
        warming = torch.from_numpy(begin + np.arange(steps) < heads[:, None])
        yield block._replace(targets=block.targets.masked_fill(warming, IGNORE))
