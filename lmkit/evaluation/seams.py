"""Rows that prove themselves: each is read on into the next one until both give the same predictions.

A row of a carried stream begins in a state of zero, a warm-up before its first target. Most models forget that within a
hundred tokens, but an LSTM can fall into a state that it does not leave for a thousand, and the loss is wrong without a
sign. So the state at the end of each row is carried into the next one, until ``AGREEING`` successive log-probabilities
are those that the next row had by itself; up to there the new ones take their place. A row that is read to its end so
has another state there, and the seam after it is looked at again. The first row is right from its beginning, so the
loss is that of the one stream, at the cost of the tokens that disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, groupby
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.perplexity import Evaluation, TokenScores, begin
from lmkit.evaluation.predictor import Scorer
from lmkit.samplers import IGNORE, StreamRows, Window, stream_rows, stream_windows

__all__ = ["AGREEING", "RowScores", "Seams", "row_scores"]

S = TypeVar("S")
AGREEING = 64  # successive tokens


class Seams(NamedTuple):
    """What became of the seams between rows: ``repaired`` rows had log-probabilities that were replaced; ``open`` ones
    have not been proven.
    """

    repaired: int = 0
    open: int = 0

    def evaluation(self) -> Evaluation:
        """These counts, to be added to the rest of an evaluation."""
        return Evaluation(seams_repaired=self.repaired, seams_open=self.open)


class RowScores(NamedTuple):
    """The scores of a text, window by window, and what became of its seams."""

    scores: Iterator[TokenScores]
    seams: Seams


def row_scores(
    scorer: Scorer[S],
    windows: Iterable[Window],
    stream: np.ndarray,
    options: EvalOptions,
    *,
    eos_id: int,
) -> RowScores:
    """The scores of windows that ``stream_windows`` cut from a stream with these options, with their seams repaired.

    In memory is one number for each token.
    """
    rows, warmup = options.rows, options.warmup
    read = _Rows(scorer, stream, stream_rows(len(stream), rows=rows, warmup=warmup), windows)
    left = read.prove(options.max_passes)
    again = stream_windows(stream, eos_id=eos_id, window=options.window, rows=rows, warmup=warmup)
    parts = read.log_probs.split(options.window, dim=-1)
    scores = (TokenScores(each, part) for each, part in zip(again, parts, strict=True))
    return RowScores(scores, Seams(len(read.repaired), left))


class _Piece(NamedTuple):
    """Some tokens of rows (B,), read on from the row before: where they belong (B, T), their log-probabilities
    (..., B, T) with those of a set replaced where they differ, whether any do (B,), and the indices among the rows of
    those whose last ``AGREEING`` do not all agree.
    """

    rows: list[int]
    columns: Tensor
    corrected: Tensor
    wrong: Tensor
    going_on: list[int]


class _Rows(Generic[S]):
    """Rows that have been read: their log-probabilities (..., R, warm-up and row), and the state at the end of each as
    a row of some batch.
    """

    def __init__(self, scorer: Scorer[S], stream: np.ndarray, layout: StreamRows, windows: Iterable[Window]) -> None:
        self.scorer = scorer
        self.stream = stream
        self.starts, self.lengths, self.heads = layout
        # a row whose warm-up reaches the beginning of the text has read all that is before it
        self.unproven = set(np.flatnonzero(self.starts > self.heads).tolist())
        self.ends: dict[int, tuple[S, int]] = {}
        self.repaired: set[int] = set()
        self.log_probs = torch.cat(list(self._read(windows)), dim=-1)

    def prove(self, max_passes: int | None) -> int:
        """Read on until every row is proven, or for ``max_passes``; return how many are not."""
        for number in count():
            if not self.unproven or number == max_passes:
                break
            # first all of them; those that are left then wait for the row before, so that each is read from a right end
            chosen = sorted(row for row in self.unproven if number == 0 or row - 1 not in self.unproven)
            # rows of one length end together, so none of them reads padding before its state is taken
            for _, equal in groupby(chosen, key=self.lengths.__getitem__):
                self._read_on(list(equal))
        return len(self.unproven)

    def _read(self, windows: Iterable[Window]) -> Iterator[Tensor]:
        """Log-probabilities window by window; on the way the states at the rows' ends are kept."""
        state: S | None = None
        steps_before = 0
        for window in windows:
            before = begin(self.scorer, window, state)
            log_probs, state = self.scorer.score(window.inputs, window.targets, before)
            if self.unproven:
                self._keep_ends(window, self.heads + self.lengths - steps_before, before, state)
            steps_before += window.targets.shape[1]
            yield log_probs.cpu()

    def _keep_ends(self, window: Window, left: np.ndarray, before: S, after: S) -> None:
        """Keep the states of rows that have ``left`` (R,) steps to go, where their end is in this window."""
        steps = window.targets.shape[1]
        for stop in np.unique(left[(left > 0) & (left <= steps)]).tolist():
            rows = np.flatnonzero(left == stop).tolist()
            if stop == steps:
                self.ends.update((row, (after, row)) for row in rows)
                continue
            # the row has read padding since: its last steps are read again, without the output layer
            state = self.scorer.gather([(before, row) for row in rows])
            inputs = window.inputs[rows, :stop]
            _, state = self.scorer.score(inputs, torch.full_like(inputs, IGNORE), state)
            self.ends.update((row, (state, index)) for index, row in enumerate(rows))

    def _read_on(self, rows: list[int]) -> None:
        """Read rows of one length from the ends of those before them, until they agree with themselves, and take over
        what differs. A row that is read to its end so has another state there, and the next one is unproven.
        """
        state, reading, pieces = self.scorer.gather([self.ends[row - 1] for row in rows]), rows, []
        for first, last in _borders(int(self.lengths[rows[0]])):
            texts = [self.stream[start + first - 1 : start + last] for start in self.starts[reading].tolist()]
            tokens = torch.from_numpy(np.stack(texts).astype(np.int64))
            log_probs, state = self.scorer.score(tokens[:, :-1], tokens[:, 1:], state)
            pieces.append(piece := self._compare(reading, first, log_probs.cpu()))
            reading = [reading[index] for index in piece.going_on]
            if not reading:
                break
            state = self.scorer.gather([(state, index) for index in piece.going_on])
        # of two neighbours that never agree the second one was read from an end that is new, or in doubt itself
        taken = set(rows) - {row + 1 for row in reading}
        for piece in pieces:
            self._take(piece, taken)
        self.unproven -= taken
        for index, row in enumerate(reading):
            if row in taken:
                self.ends[row] = (state, index)
                self.unproven |= {row + 1} & set(range(len(self.starts)))

    def _compare(self, rows: list[int], first: int, new: Tensor) -> _Piece:
        """Log-probabilities (..., B, T) of rows from their target ``first`` on beside those that they have."""
        columns = torch.from_numpy(self.heads[rows][:, None] + np.arange(first, first + new.shape[-1]))
        known = self.log_probs[..., torch.tensor(rows)[:, None], columns]
        differs = _differ(known, new, self.scorer.tolerance)
        corrected = torch.where(differs.any(dim=-1, keepdim=True), new, known)  # of several sets each by itself
        differs = differs.reshape(-1, *new.shape[-2:]).any(dim=0)
        return _Piece(rows, columns, corrected, differs.any(dim=-1), _indices(differs[:, -AGREEING:].any(dim=-1)))

    def _take(self, piece: _Piece, taken: set[int]) -> None:
        """Replace log-probabilities by those of a piece, in the rows that are taken."""
        wrong = [index for index in _indices(piece.wrong) if piece.rows[index] in taken]
        rows = [piece.rows[index] for index in wrong]
        self.log_probs[..., torch.tensor(rows, dtype=torch.long)[:, None], piece.columns[wrong]] = piece.corrected[
            ..., wrong, :
        ]
        self.repaired.update(rows)


def _borders(length: int) -> list[tuple[int, int]]:
    """Pieces of ``AGREEING`` tokens; the last one is longer, so that it can prove the row, too."""
    firsts = [piece * AGREEING for piece in range(max(1, length // AGREEING))]
    return list(zip(firsts, [*firsts[1:], length], strict=True))


def _differ(one: Tensor, other: Tensor, tolerance: float) -> Tensor:
    """Where two log-probabilities are not the same; equal infinities are, and so are two that are no numbers."""
    same = ((one - other).abs() <= tolerance) | (one == other) | (one.isnan() & other.isnan())
    return ~same


def _indices(chosen: Tensor) -> list[int]:
    found: list[int] = chosen.nonzero()[:, 0].tolist()
    return found
