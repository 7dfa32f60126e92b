"""A comparison as tables: the runs, their differences from the baseline, and both by kind of token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from string import ascii_uppercase
from typing import TextIO

from rich.markup import escape
from rich.table import Table

from lmkit.console.terminal.numbers import rounded
from lmkit.console.terminal.output import open_console
from lmkit.evaluation.comparison.comparison import Band, Comparison
from lmkit.evaluation.comparison.groups import SeedDifference
from lmkit.evaluation.comparison.interval import Interval

__all__ = ["show_comparison"]

UNITS = {"nats_per_token": "nats per token", "bits_per_byte": "bits per byte"}


def show_comparison(result: Comparison, *, file: TextIO) -> None:
    """Runs, differences with intervals and p-values, losses by frequency and position, and how it was done."""
    console = open_console(file=file)
    for table in _tables(result):
        console.print(table)
        console.print()
    what, pieces = ("tokens", "tokens") if result.unit == "nats_per_token" else ("bytes", "spans of the text")
    how = (
        f"{result.split}: {result.units:,} {pieces} in {result.blocks} blocks of {result.block:,} {what}; "
        f"[..] is {100 * result.confidence:g} % confidence from {result.resamples:,} resamples of the blocks "
        f"(seed {result.seed}); p is that of a paired t test on the blocks."
    )
    for line in (how, *_seams(result), _chance(result), *result.notes):
        console.print(escape(line), style="dim", soft_wrap=True)


def _chance(result: Comparison) -> str:
    """What the intervals account for."""
    if result.seeds is None:
        return "Both account for the choice of this text alone: training again with another seed changes a model, too."
    few = "; it takes two runs or more in each group" if result.seeds.difference.low is None else ""
    return (
        "Over the text: other texts like this one, for the mean of these very runs. Over seeds: other trainings, on "
        f"this very text, by {_test(result.seeds)}{few}."
    )


def _test(seeds: SeedDifference) -> str:
    """The test over seeds: which runs were paired, or why none were."""
    if seeds.paired:
        pairs = ", ".join(f"{one} - {other}" for one, other in seeds.pairs)
        return f"a paired t test of runs with the same seed ({pairs})"
    return " ".join(filter(None, ("Welch's test", seeds.unpaired)))


def _seams(result: Comparison) -> Iterator[str]:
    """How many seams between rows were repaired for each run that carries its state."""
    counts = [
        f"{letter} {run.seams_repaired}"
        for letter, run in zip(_letters(result), result.runs, strict=True)
        if run.state == "carry"
    ]
    if result.rows > 1 and counts:
        yield f"Read in {result.rows} rows; seams repaired: {', '.join(counts)}."


def _tables(result: Comparison) -> Iterator[Table]:
    yield _runs(result)
    yield _differences(result)
    if result.seeds is not None:
        yield _over_seeds(result, result.seeds)
    if result.by_frequency is not None:
        yield _bands(result, "times in training", result.by_frequency, _frequency)
    yield _bands(result, "position in document", result.by_position, _range)


def _runs(result: Comparison) -> Table:
    same = result.unit == "nats_per_token"
    table = _table("run", "perplexity" if same else "", "bits per byte", "tokens", "vocabulary")
    for letter, run in zip(_letters(result), result.runs, strict=True):
        table.add_row(
            f"{letter}  {escape(run.name)}",
            "" if run.perplexity is None else _shown(run.perplexity, rounded),
            _shown(run.bits_per_byte, "{:.4f}".format) + ("" if run.lossless else " lossy"),
            f"{run.tokens:,}",
            f"{run.vocab_size:,}",
        )
    return table


def _differences(result: Comparison) -> Table:
    columns = ["perplexity"] if result.unit == "nats_per_token" else []
    holm = ["p, Holm"] if len(result.differences) > 1 else []
    heading = "below 0: better" if result.seeds is None else "over the text"
    table = _table(heading, UNITS[result.unit], *columns, "p", *holm)
    letters = _letters(result)
    for letter, row in zip(letters[1:], result.differences, strict=True):
        ratio = [] if row.perplexity_ratio is None else [f"{row.perplexity_ratio.value - 1:+.2%}"]
        p_values = [_p(value) for value in (row.p_value, row.p_holm)[: 1 + len(holm)]]
        table.add_row(f"{letter} - {letters[0]}", _shown(row.difference, "{:+.4f}".format), *ratio, *p_values)
    return table


def _over_seeds(result: Comparison, seeds: SeedDifference) -> Table:
    """Each run by itself, and the difference of the groups over their seeds."""
    table = _table("over seeds", "runs", UNITS[result.unit], "lowest", "highest", "p")
    groups = zip(_letters(result), (seeds.baseline_losses, seeds.losses), strict=True)
    for letter, losses in groups:
        mean = sum(losses) / len(losses)
        table.add_row(letter, str(len(losses)), f"{mean:.4f}", f"{min(losses):.4f}", f"{max(losses):.4f}", "")
    first, second = _letters(result)
    p = "" if math.isnan(seeds.p_value) else _p(seeds.p_value)
    table.add_row(f"{second} - {first}", "", _shown(seeds.difference, "{:+.4f}".format), "", "", p)
    return table


def _bands(result: Comparison, title: str, bands: Sequence[Band], label: Callable[[Band], str]) -> Table:
    letters = _letters(result)
    table = _table(title, "share", *letters, *(f"{letter} - {letters[0]}" for letter in letters[1:]))
    for band in bands:
        losses = [f"{one.value:.4f}" for one in band.losses]
        table.add_row(
            label(band), f"{band.share:.2%}", *losses, *(_shown(one, "{:+.3f}".format) for one in band.differences)
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    return table


def _letters(result: Comparison) -> list[str]:
    """A, B, C for the runs: their names would make the tables too wide."""
    return [
        ascii_uppercase[index] if index < len(ascii_uppercase) else f"R{index + 1}" for index in range(len(result.runs))
    ]


def _shown(interval: Interval, show: Callable[[float], str]) -> str:
    if interval.low is None or interval.high is None:
        return show(interval.value)
    return escape(f"{show(interval.value)} [{show(interval.low)}, {show(interval.high)}]")


def _frequency(band: Band) -> str:
    return {-1: "<unk>", 0: "never"}.get(band.first) or _range(band)


def _range(band: Band) -> str:
    return f"{band.first:,} to {band.last:,}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
