"""What a classifier is worth, as tables: accuracy beside naive Bayes, confusions, calibration, worst errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from lmkit.classify.measures.calibration import Calibration
from lmkit.classify.measures.comparison import ClassifierComparison, GroupDifference
from lmkit.classify.measures.confusion import Confusion
from lmkit.classify.measures.measurement import ClassMeasurement, Wrong
from lmkit.classify.measures.report import Baseline, ClassifierReport
from lmkit.console.terminal.numbers import counted, number, printable
from lmkit.console.terminal.output import open_console
from lmkit.evaluation.comparison.interval import Interval

__all__ = ["show_classifier", "show_classifier_comparison"]

WIDEST_TABLE = 12  # classes of a confusion table; of more, the commonest confusions are listed
LONGEST_NAME, LONGEST_SAID, LONGEST_TEXT = 24, 20, 200
NAIVE_BAYES = "naive Bayes"


def show_classifier(found: ClassifierReport, *, file: TextIO) -> None:
    """Everything that a measurement of a classifier found."""
    console = open_console(file=file)
    measured, baseline = found.measured, found.baseline
    parts: list[Table | Group] = [
        _headline(found),
        _classes(measured, baseline),
        _confusions(measured.confusion),
        _reliability(measured.calibration),
    ]
    for part in parts:
        console.print(part)
        console.print()
    if measured.worst:
        console.print("most wrong", style="bold")
        for wrong in measured.worst:
            _show_wrong(wrong, console)
        console.print()
    how = (
        f"{found.name}: {counted(measured.texts, 'text')}; [..] is {100 * found.confidence:g} % confidence over texts, "
        "of an accuracy by Wilson (1927), of a difference by Newcombe (1998); p is that of the exact McNemar test "
        "on the texts that one of the two alone is right on."
    )
    for line in (how, *found.notes):
        console.print(escape(line), style="dim", soft_wrap=True)


def show_classifier_comparison(found: ClassifierComparison, *, file: TextIO) -> None:
    """The runs, or groups of runs, and their differences from the first."""
    console = open_console(file=file)
    for table in (_groups(found), _over_texts(found), _over_seeds(found)):
        if table.row_count:
            console.print(table)
            console.print()
    for line in (*_explained(found), *found.notes):
        console.print(escape(line), style="dim", soft_wrap=True)


def _headline(found: ClassifierReport) -> Table:
    measured = found.measured
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    right = f"{measured.confusion.right:,} of {counted(measured.texts, 'text')}"
    table.add_row("accuracy", _percent(measured.accuracy), right)
    if found.baseline is not None:
        _add_baseline(table, found.baseline)
    if found.commonest is not None:
        table.add_row("commonest class", f"{100 * found.commonest:.2f} %", "if it were always said")
    if found.seen and found.unseen is not None:
        table.add_row("unseen texts", _percent(found.unseen), f"without {found.seen:,} that training had, too")
    table.add_row("macro F1", f"{measured.confusion.macro_f1:.4f}", "each class counts the same")
    table.add_row("nats per text", number(measured.nats_per_text), "of the probability of its class")
    calibration = measured.calibration
    chance = f"{100 * calibration.by_chance:.2f} % by chance alone"
    table.add_row("calibration error", f"{100 * calibration.error:.2f} %", chance)
    return table


def _add_baseline(table: Table, baseline: Baseline) -> None:
    pairs = baseline.pairs
    table.add_row(NAIVE_BAYES, _percent(baseline.measured.accuracy), "counts words and pairs of words")
    alone = f"p {_p(pairs.p_value)}; right alone {pairs.second:,} : {pairs.first:,}"
    table.add_row("  difference", f"{_points(baseline.difference)} %", alone)


def _classes(measured: ClassMeasurement, baseline: Baseline | None) -> Table:
    names = ["class", "texts", "said", "precision", "recall", "F1"]
    others = [] if baseline is None else [one.f1 for one in baseline.measured.confusion.scores()]
    table = _table(*names, *([f"F1, {NAIVE_BAYES}"] if others else []))
    for index, score in enumerate(measured.confusion.scores()):
        ratios = [score.precision, score.recall, score.f1, *others[index : index + 1]]
        table.add_row(_name(score.name), f"{score.texts:,}", f"{score.predicted:,}", *map(_ratio, ratios))
    return table


def _confusions(confusion: Confusion) -> Table:
    """Which class was said for which: a table with a column for each, or the commonest confusions of many classes."""
    if len(confusion.classes) > WIDEST_TABLE:
        return _commonest(confusion)
    table = _table("class, below: said", *map(str, range(1, len(confusion.classes) + 1)))
    for index, (name, row) in enumerate(zip(confusion.classes, confusion.counts.tolist(), strict=True)):
        cells = [f"[bold]{count:,}[/bold]" if index == other else _count(count) for other, count in enumerate(row)]
        table.add_row(f"{index + 1}  {_name(name)}", *cells)
    return table


def _commonest(confusion: Confusion) -> Table:
    table = _table("class", "said", "texts")
    rows = [
        (count, name, said)
        for name, row in zip(confusion.classes, confusion.counts.tolist(), strict=True)
        for said, count in zip(confusion.classes, row, strict=True)
        if count and name != said
    ]
    for count, name, said in sorted(rows, key=lambda row: (-row[0], row[1:]))[:WIDEST_TABLE]:
        table.add_row(_name(name), _name(said), f"{count:,}")
    return table


def _reliability(calibration: Calibration) -> Table:
    table = _table("confidence", "texts", "mean", "right")
    for one in calibration.bins:
        bounds = f"{100 * one.low:.2f} to {100 * one.high:.2f} %"
        table.add_row(bounds, f"{one.texts:,}", f"{100 * one.confidence:.2f} %", f"{100 * one.accuracy:.2f} %")
    return table


def _show_wrong(wrong: Wrong, console: Console) -> None:
    """A text that is wrong, in two lines."""
    head = (
        f"line {wrong.line:,}: {_shortened(wrong.label, LONGEST_SAID)} {100 * wrong.probability:.2g} %, "
        f"said {_shortened(wrong.said, LONGEST_SAID)} {100 * wrong.said_probability:.1f} %"
    )
    console.print(escape(head), soft_wrap=True)
    room = min(LONGEST_TEXT, console.width - 4)
    console.print(escape(f"    {_shortened(wrong.text, room)}"), style="dim", soft_wrap=True)


def _groups(found: ClassifierComparison) -> Table:
    table = _table("run", "accuracy", "runs", "lowest", "highest")
    for letter, group in zip(_letters(len(found.groups)), found.groups, strict=True):
        several = len(group.accuracies) > 1
        ends = [f"{100 * end(group.accuracies):.2f} %" if several else "" for end in (min, max)]
        name = f"{letter}  {_end_of(group.name)}"
        table.add_row(name, _percent(group.accuracy), str(len(group.accuracies)), *ends)
    return table


def _over_texts(found: ClassifierComparison) -> Table:
    several = len(found.differences) > 1
    table = _table("over texts", "difference", "p", *(["p, Holm"] if several else []))
    for pair, one in _pairs(found):
        p_values = [_p(value) for value in (one.p_texts, one.p_holm)[: 1 + several]]
        table.add_row(pair, f"{_points(one.over_texts)} %", *p_values)
    return table


def _over_seeds(found: ClassifierComparison) -> Table:
    table = _table("over seeds", "difference", "p")
    for pair, one in _pairs(found):
        if one.over_seeds is not None and one.p_seeds is not None:
            table.add_row(pair, f"{_points(one.over_seeds)} %", _p(one.p_seeds))
    return table


def _pairs(found: ClassifierComparison) -> Iterator[tuple[str, GroupDifference]]:
    """Each difference with the letters of what it is between."""
    first, *others = _letters(len(found.groups))
    yield from zip((f"{letter} - {first}" for letter in others), found.differences, strict=True)


def _explained(found: ClassifierComparison) -> Iterator[str]:
    yield (
        f"{found.data}: {counted(found.texts, 'text')}; [..] is {100 * found.confidence:g} % confidence; above 0 is "
        "better. Over texts: other texts, these very networks. Over seeds: other trainings, these very texts."
    )
    for pair, one in _pairs(found):
        if one.pairs is not None:
            letter, first = pair.split(" - ")
            yield (
                f"{pair}: {one.pairs.second:,} right by {letter} alone, {one.pairs.first:,} by {first} alone (exact "
                "McNemar test; the interval is Newcombe's, 1998)."
            )
    if any(one.pairs is None for one in found.differences):
        yield "Several runs: over texts a paired t test on each text's share of runs that are right."
    for pair, one in _pairs(found):
        if one.over_seeds is not None:
            test = "a paired t test of runs with the same seed" if one.seeds_paired else f"Welch's test {one.unpaired}"
            yield f"{pair}: over seeds {test.strip()}."


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    return table


def _letters(count: int) -> Sequence[str]:
    return [chr(ord("A") + index) if index < 26 else f"R{index + 1}" for index in range(count)]


def _percent(interval: Interval) -> str:
    """``98.14 [96.86, 98.91] %``."""
    return escape(interval.map(100).shown(".2f")) + " %"


def _points(interval: Interval) -> str:
    """``+0.43 [-0.71, +1.60]``: a difference in per cent."""
    return escape(interval.map(100).shown("+.2f"))


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _count(count: int) -> str:
    return f"{count:,}" if count else "[dim]·[/dim]"


def _name(name: str) -> str:
    return escape(_shortened(name))


def _end_of(name: str) -> str:
    """The end of a long name: what tells the runs of one folder apart."""
    line = printable(name)
    return escape(line if len(line) <= LONGEST_NAME else f"…{line[1 - LONGEST_NAME :]}")


def _shortened(text: str, most: int = LONGEST_NAME) -> str:
    """A text in one line of at most so many characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
