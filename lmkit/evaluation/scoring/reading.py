"""Blocks of tokens read by a predictor: their scores, in the order of the text."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.distributed.world import ALONE, World
from lmkit.errors import DataError
from lmkit.evaluation.options import DEFAULTS
from lmkit.evaluation.perplexity import TokenScores, score_window
from lmkit.evaluation.predictor import Predictor
from lmkit.evaluation.scoring.blocks import Integers, TokenBlock
from lmkit.evaluation.scoring.details import Details, score_in_detail
from lmkit.samplers import IGNORE, Window, check_layout

__all__ = ["Report", "ScoredBlock", "score_blocks"]

S = TypeVar("S")
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]
Report = Callable[[TokenBlock, int], None]
ROWS = 64  # lines computed in parallel
NUMBERS_AT_ONCE = 2**22  # of a window's distributions: 16 MiB in float32
END = -1  # no checksum of a window


class ScoredBlock(NamedTuple):
    """The scores of a block of N tokens, in nats: log_probs (N,), 0 where the id is IGNORE; and what was asked for.

    boundary: (N,) log-probability, just before each token, that the word before it has ended.
    """

    block: TokenBlock
    log_probs: Floats
    entropy: Floats | None = None
    rank: Integers | None = None
    top_ids: Integers | None = None
    top_log_probs: Floats | None = None
    boundary: Floats | None = None


def score_blocks(
    predictor: Predictor[S],
    blocks: Iterable[TokenBlock],
    *,
    eos_id: int,
    vocab_size: int,
    details: Details | None = None,
    window: int = DEFAULTS.window,
    rows: int = ROWS,
    report: Report | None = None,
    world: World = ALONE,
) -> Iterator[ScoredBlock]:
    """Score block after block, each as soon as it is there; memory is that of a block.

    Segments that are whole (lines, short documents) are read in parallel in up to ``rows`` rows, all else as one
    stream. Neither ``window`` nor ``rows`` changes a score by more than rounding. report: called with a block and how
    many of its tokens are scored, window by window. world: processes that all score these blocks and compute their rows
    together. Raises DataError where there is no token at all, ConfigError where processes read other blocks.
    """
    check_layout(rows=rows, window=window)
    reader = _Reader(predictor, eos_id, vocab_size, details or Details(), window, rows, report, world)
    held: list[ScoredBlock] | None = []  # until there is a token, so that a mistake is reported before any score
    for whole, group in groupby(blocks, key=lambda block: block.whole):
        for scored in map(reader.side_by_side, group) if whole else reader.one_stream(group):
            if held is not None:
                held.append(scored)
                if len(scored.block):
                    yield from held
                    held = None
            else:
                yield scored
    world.check_same({"text": END})
    if held is not None:
        what = "has only white space that the model does not read" if held else "is empty"
        raise DataError(f"The text {what}: there is nothing to score.")


@dataclass
class _Reader(Generic[S]):
    """Cuts blocks into windows and puts the scores of windows together to those of blocks."""

    predictor: Predictor[S]
    eos_id: int
    vocab_size: int
    details: Details
    window: int
    rows: int
    report: Report | None
    world: World

    def one_stream(self, blocks: Iterable[TokenBlock]) -> Iterator[ScoredBlock]:
        """Blocks that follow each other, in one row."""
        state: S | None = None
        previous = self.eos_id
        for block in blocks:
            columns, fresh = self._columns(len(block)), set(block.segments.tolist())
            for begin, end in pairwise(self._cuts(block)):
                targets = block.ids[None, begin:end]
                window = _window(self.eos_id if begin in fresh else previous, targets, begin in fresh)
                scores, state = self._score(window, state)
                for name, values in _named(scores):
                    columns[name][begin:end] = values[0]
                previous = int(targets[0, -1])
                self._tell(block, end)
            yield ScoredBlock(block, **columns)

    def side_by_side(self, block: TokenBlock) -> ScoredBlock:
        """A block of whole segments, those of similar length together."""
        columns = self._columns(len(block))
        lengths = np.diff(block.segments, append=len(block))
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        rows = self._at_once(self.rows, 1)
        for begin in range(0, len(order), rows):
            chosen = order[begin : begin + rows]
            steps = np.arange(lengths[chosen].max())
            positions = block.segments[chosen, None] + steps
            there = steps < lengths[chosen, None]
            targets = np.where(there, block.ids[np.minimum(positions, len(block) - 1)], IGNORE)
            size = self._at_once(self.window, len(chosen))
            state: S | None = None
            previous: Any = self.eos_id
            for first in range(0, len(steps), size):
                span = slice(first, first + size)
                scores, state = self._score(_window(previous, targets[:, span], first == 0), state)
                previous = targets[:, span][:, -1]
                wanted = there[:, span]
                for name, values in _named(scores):
                    columns[name][positions[:, span][wanted]] = values[wanted]
            self._tell(block, int(lengths[order[: begin + rows]].sum()))
        return ScoredBlock(block, **columns)

    def _tell(self, block: TokenBlock, scored: int) -> None:
        if self.report is not None:
            self.report(block, scored)

    def _cuts(self, block: TokenBlock) -> list[int]:
        """Where the windows of a block begin and end: at its segments, and after ``window`` tokens."""
        size = self._at_once(self.window, 1)
        cuts: list[int] = []
        for begin, end in pairwise(sorted({0, *block.segments.tolist(), len(block)})):
            cuts += range(begin, end, size)
        return [*cuts, len(block)]

    def _at_once(self, wished: int, others: int) -> int:
        """Rows or steps of a window, fewer where the distributions of a window would be too large."""
        return max(1, min(wished, NUMBERS_AT_ONCE // (self.vocab_size * others))) if self.details else wished

    def _columns(self, length: int) -> Columns:
        """What a block's scores are written to."""
        details, many = self.details, min(self.details.top_k, self.vocab_size)
        columns: Columns = {"log_probs": np.zeros(length)}
        if details.entropy:
            columns["entropy"] = np.zeros(length)
        if details.rank:
            columns["rank"] = np.zeros(length, dtype=np.int64)
        if details.top_k:
            columns |= {"top_ids": np.zeros((length, many), dtype=np.int64), "top_log_probs": np.zeros((length, many))}
        if details.begins is not None:
            columns["boundary"] = np.zeros(length)
        return columns

    def _score(self, window: Window, state: S | None) -> tuple[TokenScores, S | None]:
        """The scores of a window, whose rows are shared out over the processes, and the state of this one's rows."""
        if self.world.alone:
            return self._score_own(window, state)
        own = self.world.rows(len(window.inputs))
        found: dict[str, Tensor] = {}
        if own.start < own.stop:
            rows = Window(window.inputs[own], window.targets[own], window.reset[own], window.advance)
            scores, state = self._score_own(rows, state)
            found = {"": scores.log_probs, **scores.details}
        self.world.check_same({"text": zlib.crc32(window.targets.numpy().tobytes())})
        parts = [part for part in self.world.gather(found) if part]
        details = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return TokenScores(window, details.pop(""), details), state

    def _score_own(self, window: Window, state: S | None) -> tuple[TokenScores, S]:
        if self.details:
            return score_in_detail(self.predictor, window, state, self.details)
        return score_window(self.predictor, window, state)


def _named(scores: TokenScores) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every column of a window, (B, T) or (B, T, k)."""
    for name, values in ({"log_probs": scores.log_probs} | dict(scores.details)).items():
        yield name, values.numpy()


def _window(previous: Any, targets: Integers, fresh: bool) -> Window:
    """A window of rows (B, T) that continue after the tokens ``previous``, or begin with them."""
    rows, steps = targets.shape
    inputs = np.empty_like(targets)
    inputs[:, 0] = previous
    inputs[:, 1:] = targets[:, :-1]
    inputs = np.maximum(inputs, 0)  # behind a row's end anything may be read
    return Window(torch.from_numpy(inputs), torch.from_numpy(targets), torch.full((rows,), fresh), steps)
