"""Is one model better than another? Paired differences with intervals and a test, in all and by kind of token.

The intervals and p-values show how far the difference depends on the chance of this text. They say nothing of the
chance of training: another seed would have given other models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.comparison.alignment import UNKNOWN, ScoredRun, Units
from lmkit.evaluation.comparison.bootstrap import (
    FEWEST_BLOCKS,
    BlockBootstrap,
    default_block,
    holm,
    paired_test,
)
from lmkit.evaluation.comparison.groups import SeedDifference
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.options import COMPARED

__all__ = ["Band", "Comparison", "Difference", "Interval", "RunResult", "compare", "count_blocks"]

Floats = NDArray[np.float64]
LN2 = math.log(2.0)


@dataclass(frozen=True)
class RunResult:
    """One run by itself: ``loss`` is in the comparison's unit; ``perplexity`` is None where tokens differ. Of the rows
    that were read in parallel, ``seams_repaired`` were corrected by reading on from the one before.
    """

    name: str
    nll: float
    tokens: int
    vocab_size: int
    loss: Interval
    bits_per_byte: Interval
    perplexity: Interval | None
    lossless: bool
    state: str
    seams_repaired: int = 0


@dataclass(frozen=True)
class Difference:
    """A run minus the baseline: below zero the run is the better one.

    ``p_holm`` is the p-value after Holm's (1979) correction for all the runs that are compared with the baseline.
    """

    name: str
    difference: Interval
    perplexity_ratio: Interval | None
    t: float
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class Band:
    """A part of the text's tokens: the losses of all runs on it, and their differences from the baseline's.

    ``first`` and ``last`` bound the frequency or the position, both included; ``share`` is that of the units' size.
    """

    first: int
    last: int
    units: int
    share: float
    losses: list[Interval]
    differences: list[Interval]


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison found; the first run is the baseline.

    ``unit`` is nats_per_token where the tokens are the same, else bits_per_byte over spans of the text. ``split`` names
    the text, ``rows`` were read in parallel, and ``notes`` are what a reader must know before believing the results.
    ``seeds``: of two groups of runs, each of which stands as one run here, the difference over their seeds.
    """

    unit: str
    units: int
    blocks: int
    block: int
    confidence: float
    resamples: int
    seed: int
    runs: list[RunResult]
    differences: list[Difference]
    by_frequency: list[Band] | None
    by_position: list[Band]
    split: str = "text"
    rows: int = 1
    notes: list[str] = field(default_factory=list)
    seeds: SeedDifference | None = None

    def table(self) -> list[list[str]]:
        """The runs and their differences from the first as a table of texts, its heading first."""
        unit = self.unit.replace("_", " ")
        table = [["run", "perplexity", "bits per byte", f"{unit}, minus the first", "p"]]
        for run, difference in zip(self.runs, [None, *self.differences], strict=True):
            perplexity = "" if run.perplexity is None else run.perplexity.shown(",.4g")
            table.append([run.name, perplexity, run.bits_per_byte.shown(".4f"), "", ""])
            if difference is not None:
                table[-1][3:] = [difference.difference.shown("+.4f"), f"{difference.p_holm:.2g}"]
        return table

    def __repr__(self) -> str:
        table = self.table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in table]
        how = f"{self.split}: {self.units:,} units in {self.blocks} blocks, {100 * self.confidence:g} % confidence"
        seeds = [] if self.seeds is None else [f"over seeds: {self.seeds.difference.shown('+.4f')}"]
        return "\n".join(line.rstrip() for line in (*lines, *seeds, how, *self.notes))

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        (head, *body) = self.table()
        rows = ["".join(f"<th>{escape(text)}</th>" for text in head)]
        rows += ["".join(f"<td>{escape(text)}</td>" for text in row) for row in body]
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>{notes}"

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: infinities become None."""
        found: dict[str, Any] = _finite(dataclasses.asdict(self))
        return found


def count_blocks(size: int, block: int | None, kind: str) -> int:
    """How many blocks of at least ``block`` tokens or bytes (default: a sixteenth of the text) a text is cut into.

    Raises DataError where the text is too short, ConfigError where the block is too long.
    """
    number = size // (default_block(size) if block is None else block)
    if number >= FEWEST_BLOCKS:
        return number
    unit = "tokens" if kind == "token" else "bytes"
    if block is None or size < FEWEST_BLOCKS:
        raise DataError(f"A text of {size:,} {unit} is too short to compare models on: give a longer one.")
    raise ConfigError(
        f"--block {block} cuts {size:,} {unit} into {number} blocks, and an interval needs {FEWEST_BLOCKS}: "
        f"use --block {size // FEWEST_BLOCKS} or less."
    )


def compare(
    runs: Sequence[ScoredRun],
    units: Units,
    *,
    block: int | None = None,
    resamples: int = COMPARED.resamples,
    confidence: float = COMPARED.confidence,
    seed: int = COMPARED.seed,
) -> Comparison:
    """Compare runs with the first of them on the units of a text.

    ``block`` is that of ``count_blocks``, whose errors it raises; the blocks are evenly spread over the text.
    """
    size = int(units.sizes.sum())
    number = count_blocks(size, block, units.kind)
    in_block = (np.cumsum(units.sizes) - units.sizes) * number // size
    bootstrap = BlockBootstrap(number, resamples=resamples, confidence=confidence, seed=seed)
    table = _Table(units, in_block, bootstrap)
    losses, differences, tests = table.whole()
    corrected = holm([p for _, p in tests])
    return Comparison(
        unit="nats_per_token" if units.kind == "token" else "bits_per_byte",
        units=len(units.sizes),
        blocks=number,
        block=size // number,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        runs=[_result_of(run, loss, units.kind) for run, loss in zip(runs, losses, strict=True)],
        differences=[
            Difference(run.name, difference, difference.exp() if units.kind == "token" else None, t, p, p_holm)
            for run, difference, (t, p), p_holm in zip(runs[1:], differences, tests, corrected, strict=True)
        ],
        by_frequency=None if units.frequencies is None else table.bands(units.frequencies),
        by_position=table.bands(units.positions),
    )


class _Table:
    """Sums of losses and sizes by block, for any grouping of the units."""

    def __init__(self, units: Units, in_block: NDArray[np.int64], bootstrap: BlockBootstrap) -> None:
        self.units, self.in_block, self.bootstrap = units, in_block, bootstrap
        self.scale = 1.0 if units.kind == "token" else 1 / LN2

    def whole(self) -> tuple[list[Interval], list[Interval], list[tuple[float, float]]]:
        """Over all units: losses, differences from the baseline, and their t and p."""
        sums, sizes = self._sums(np.zeros(len(self.units.sizes), dtype=np.int64), 1)
        losses, differences = self._intervals(sums, sizes)
        return losses[0], differences[0], [paired_test(run - sums[0, :, 0], sizes[:, 0]) for run in sums[1:, :, 0]]

    def bands(self, values: NDArray[np.int64]) -> list[Band]:
        """Bands of ten times each other: -1 (<unk>), 0, 1-9, 10-99 and so on, those that occur."""
        edges = [UNKNOWN, 0, *(10**power for power in range(19))]
        group = np.searchsorted(edges, values, side="right") - 1
        occurring, group = np.unique(group, return_inverse=True)
        sums, sizes = self._sums(group, len(occurring))
        losses, differences = self._intervals(sums, sizes)
        counts = np.bincount(group)
        shares = sizes.sum(axis=0) / sizes.sum()
        return [
            Band(edges[edge], edges[edge + 1] - 1, int(counts[index]), float(shares[index]), *columns)
            for index, (edge, *columns) in enumerate(zip(occurring, losses, differences, strict=True))
        ]

    def _sums(self, group: NDArray[np.int64], groups: int) -> tuple[Floats, Floats]:
        """Losses (runs, blocks, groups) and sizes (blocks, groups)."""
        shape = (self.bootstrap.num_blocks, groups)
        cell = self.in_block * groups + group
        cells = shape[0] * shape[1]
        sums = [np.bincount(cell, losses * self.scale, cells).reshape(shape) for losses in self.units.losses]
        return np.stack(sums), np.bincount(cell, self.units.sizes, cells).reshape(shape).astype(np.float64)

    def _intervals(self, sums: Floats, sizes: Floats) -> tuple[list[list[Interval]], list[list[Interval]]]:
        """For each group the losses of all runs, and their differences from the baseline."""
        columns = np.concatenate([sums, sums[1:] - sums[0]])  # runs, then differences
        flat = columns.transpose(1, 0, 2).reshape(len(sizes), -1)
        weights = np.tile(sizes, (1, len(columns)))
        values = flat.sum(axis=0) / weights.sum(axis=0)
        low, high = self.bootstrap.intervals(flat, weights)
        cells = [Interval(float(value), _known(a), _known(b)) for value, a, b in zip(values, low, high, strict=True)]
        groups = sizes.shape[1]
        by_group = [cells[group::groups] for group in range(groups)]
        return [row[: len(sums)] for row in by_group], [row[len(sums) :] for row in by_group]


def _result_of(run: ScoredRun, loss: Interval, kind: str) -> RunResult:
    nll, counts = float(run.losses.sum()), run.tokens.counts
    same = kind == "token"
    return RunResult(
        name=run.name,
        nll=nll,
        tokens=len(run.tokens),
        vocab_size=run.tokenizer.vocab_size,
        loss=loss,
        bits_per_byte=loss.map(len(run.tokens) / counts.bytes / LN2) if same else loss,
        perplexity=loss.exp() if same else None,
        lossless=run.lossless,
        state=run.state,
        seams_repaired=run.seams_repaired,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
