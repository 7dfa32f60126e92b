"""Tables on standard output: measurements, corpora, tokens, runs."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lmkit.config import Config
from lmkit.console.terminal.numbers import joined, number, rows_of, size, sparkline
from lmkit.console.terminal.output import open_console
from lmkit.evaluation.adapters.levels import Adapted
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.measurement import Measurement
from lmkit.presets.preset import Preset
from lmkit.run.summary import RunSummary
from lmkit.text.sources.registry import CorpusEntry
from lmkit.text.statistics import TokenizerStatistics

__all__ = [
    "remarks",
    "show_adapters",
    "show_corpora",
    "show_measurement",
    "show_presets",
    "show_run",
    "show_statistics",
    "show_tokens",
]


def show_measurement(measurement: Measurement, *, model: str = "", words_only: bool, file: TextIO) -> None:
    """Every metric of an evaluation in one table, with how it was measured; ``model``: of what, where it is no plain
    network.
    """
    result = measurement.evaluation
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    lossy = "" if measurement.lossless else "lossy: lower bound"
    word = result.words_only_perplexity if words_only else result.word_perplexity
    rows = [
        ("perplexity", result.perplexity, f"per token, over {result.tokens:,} tokens"),
        ("nats per token", result.nats_per_token, ""),
        ("bits per token", result.bits_per_token, ""),
        ("bits per character", result.bits_per_char, joined(f"{result.chars:,} characters", lossy)),
        ("bits per byte", result.bits_per_byte, joined(f"{result.bytes:,} bytes", lossy)),
        (
            "word perplexity",
            word,
            joined(f"{result.words:,} words" + ("" if words_only else f" + {result.line_ends:,} line ends"), lossy),
        ),
        (
            "without <unk>",
            result.perplexity_excluding_oov,
            joined(
                f"perplexity; {result.oov:,} <unk>, {result.oov_rate:.2%} of tokens",
                f"{result.oov_written:,} of them written in the text" if result.oov_written else "",
            ),
        ),
    ]
    for name, value, remark in rows:
        none = math.isnan(value) and not math.isnan(result.nll)  # such as words of a text without any
        table.add_row(name, number(None if none else value), remark)
    table.add_row("nll", f"{result.nll:,.2f}" if abs(result.nll) < 1e12 else number(result.nll), "nats, the sum")
    console = open_console(file=file)
    console.print(table)
    if model:
        console.print(escape(f"metrics of {model}"), style="dim", soft_wrap=True)
    how = f"{measurement.split}: state {measurement.state}, {rows_of(measurement)}, {measurement.precision}"
    console.print(escape(how), style="dim", soft_wrap=True)
    for line in remarks(measurement.metrics()):
        console.print(escape(line), soft_wrap=True)


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """What stands beside a headline, from the metrics of a measurement or its record: what the machine that made a text
    needs for it, and what a reader must know before comparing the metrics.
    """
    lines = []
    perplexity, rate = metrics.get("source_perplexity"), metrics.get("source_entropy_nats_per_char")
    if isinstance(perplexity, float) and isinstance(rate, float):
        lines.append(
            f"The machine that made this text has perplexity {number(perplexity)} on it; its entropy rate is "
            f"{rate / math.log(2):.4f} bits per character: no model does better on average."
        )
    notes = metrics.get("notes")
    return lines + [f"Note: {note}" for note in notes if isinstance(note, str)] if isinstance(notes, list) else lines


def show_adapters(adapted: Adapted, *, file: TextIO) -> None:
    """Each level of a stack of adapters: its perplexity, and how much lower it is than the level's below and than the
    network's, with intervals.
    """
    table = Table(box=None, pad_edge=False)
    for name in ("", "perplexity", "lower than above", "lower than the network"):
        table.add_column(name, justify="right" if name else "left")
    for level in adapted.levels:
        perplexity = level.evaluation.perplexity
        shown = f"{perplexity:,.3f}" if perplexity < 1e9 else number(perplexity)
        table.add_row(escape(level.name), shown, _gain(level.gain_below), _gain(level.gain))
    console = open_console(file=file)
    console.print()
    console.print(table)
    blocks = adapted.blocks
    tuned = "tuned on valid: " if adapted.settings.tuned else ""
    if adapted.tuned_here:
        tuned = "tuned on the text that is measured: "
    lines = [tuned + ", ".join(_in_use(adapted))]
    if blocks is not None:
        lines.append(
            f"[..] is {100 * blocks.confidence:g} % confidence from {blocks.resamples:,} resamples of {blocks.blocks} "
            f"blocks of {blocks.block:,} tokens (seed {blocks.seed})"
        )
    for line in (*lines, *adapted.notes):
        console.print(escape(line), style="dim", soft_wrap=True)


def _in_use(adapted: Adapted) -> list[str]:
    """The settings of the adapters that were used."""
    settings, names = adapted.settings, [level.name for level in adapted.levels]
    used = {
        "dynamic": settings.dynamic,
        "cache": settings.cache > 0,
        "ngram": any("gram" in name for name in names),
        "mixed": bool(settings.mixed_weights),
    }
    shown = []
    for name, value in dataclasses.asdict(settings).items():
        if isinstance(value, float) and used[name.split("_")[0]]:
            shown.append(f"{name} {value:g}")
        elif name == "mixed_weights" and value:
            shown.append(f"mixed_weights {' '.join(f'{weight:g}' for weight in value)}")
    return shown


def _gain(gain: Interval | None) -> str:
    if gain is None:
        return ""
    if gain.low is None or gain.high is None:
        return f"{gain.value:z.1%}"
    return escape(f"{gain.value:z.1%} [{100 * gain.low:z.1f}, {100 * gain.high:z.1f}]")


def show_corpora(entries: Sequence[CorpusEntry], *, whole: bool) -> None:
    """The registry as a table, or one entry in full."""
    console = open_console()
    if whole:
        for entry in entries:
            console.print(f"[bold]{escape(entry.name)}[/bold]  {escape(entry.title)}")
            console.print(escape(entry.description))
            console.print(
                escape(f"{entry.kind}; source: {entry.source}; licence: {entry.licence}; size: {size(entry.size)}")
            )
        return
    table = Table(box=None, pad_edge=False)
    for name in ("name", "kind", "size", "what it is"):
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=name == "name")
    for entry in entries:
        table.add_row(escape(entry.name), entry.kind, size(entry.size), escape(entry.title))
    console.print(table)
    console.print("Any file or folder works by its path. `lmkit corpora NAME` shows more.", style="dim")


def show_statistics(rows: Sequence[TokenizerStatistics]) -> None:
    """What each granularity costs."""
    table = Table(box=None, pad_edge=False)
    for name in ("tokenizer", "vocabulary", "tokens", "tokens per word", "characters per token", "<unk>", "of tokens"):
        table.add_column(name, justify="left" if name == "tokenizer" else "right")
    for row in rows:
        table.add_row(
            row.kind,
            f"{row.vocab_size:,}",
            f"{row.tokens:,}",
            f"{row.tokens_per_word:.2f}",
            f"{row.chars_per_token:.2f}",
            f"{row.oov:,}",
            f"{row.oov_rate:.2%}",
        )
    console = open_console()
    console.print(table)
    console.print("Trained on the first 90 % of the text, counted on the last 10 %.", style="dim")


def show_tokens(tokens: Sequence[tuple[int, str]], total: int, oov: int, vocab_size: int) -> None:
    """Ids with their tokens."""
    console = open_console()
    console.print(escape(" ".join(f"{id}:{token!r}" for id, token in tokens)), soft_wrap=True)
    console.print(f"{total:,} tokens, {oov:,} of them <unk>; vocabulary {vocab_size:,}", style="dim")


def show_presets(presets: Sequence[Preset]) -> None:
    """Each preset with what it is for, its text, its time and what to expect."""
    console = open_console()
    for preset in presets:
        console.print(f"[bold]{escape(preset.name)}[/bold]", soft_wrap=True)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("purpose", "text", "time", "expected"):
            table.add_row(f"  {name}", escape(getattr(preset, name)))
        console.print(table)
    console.print("`lmkit train TEXT --preset NAME` uses one; options override it.", style="dim")


def show_run(run: RunSummary) -> None:
    """Corpus, network, the options that are not the defaults, checkpoints and the curve of a run; what run.json or
    metrics.jsonl lack is left out.
    """
    metrics = run.metrics.records
    console = open_console()
    console.print(f"[bold]{escape(str(run.path))}[/bold]", soft_wrap=True)
    console.print(escape(joined(*_facts(run.config, run.info))), soft_wrap=True)
    for line in _origins(run.info):
        console.print(escape(line), soft_wrap=True)
    options = shlex.join(run.config.arguments()) or "none; all have their defaults"
    console.print(f"[bold]options[/bold] {escape(options)}", soft_wrap=True)
    go_on = f"`{run.config.command} --resume {run.path}` continues it" if run.status == "interrupted" else ""
    console.print(escape(joined(run.status, _saved(run.steps), go_on)), soft_wrap=True)
    console.print(_validations(run.config, metrics), soft_wrap=True, end="")
    for record in metrics:
        if record.get("kind") == "final":
            _show_final(record, console)


def _validations(config: Config, metrics: Sequence[Mapping[str, Any]]) -> str:
    """The line of the validations and the nats of the best one, which need not be the lowest; "" without any."""
    name = f"nats_per_{config.unit}"
    found = [(_value(record, "evaluation", name), record.get("best") is True) for record in metrics]
    curve = [value for value, _ in found if value is not None]
    best = [value for value, is_best in found if value is not None and is_best]
    if not curve:
        return ""
    return f"validation {sparkline(curve)}  best {(best or [min(curve)])[-1]:.4f} nats per {config.unit_shown}\n"


def _facts(config: Config, info: Mapping[str, Any]) -> Iterator[str]:
    """The text, the network and the machine of a run."""
    corpus, parameters = info.get("corpus"), info.get("parameters")
    known = corpus if isinstance(corpus, Mapping) else {}
    rate = known.get("entropy_rate_nats_per_char")
    yield f"corpus {known.get('name') or config.data.corpus}"
    yield config.network + (f", {parameters:,} parameters" if isinstance(parameters, int) else "")
    yield f"entropy rate {rate / math.log(2):.4f} bits per character" if isinstance(rate, float) else ""
    yield str(info.get("cpu") or "")


def _saved(steps: Sequence[int]) -> str:
    if not steps:
        return "no checkpoint"
    several = "s" if len(steps) > 1 else ""
    return f"checkpoint{several} at step{several} {', '.join(f'{step:,}' for step in steps)}"


def _origins(info: Mapping[str, Any]) -> Iterator[str]:
    """The run that one was fine-tuned from, and those that this one was fine-tuned from, as run.json names them."""
    while isinstance(origin := info.get("init_from"), Mapping):
        corpus, step = origin.get("corpus"), origin.get("step")
        facts = [
            f"fine-tuned from {origin.get('path')}",
            f"step {step:,}" if isinstance(step, int) else "",
            f"corpus {corpus.get('name')}" if isinstance(corpus, Mapping) else "",
            f"{origin.get('new_tokens')} new {origin.get('extend_vocab')}" if origin.get("new_tokens") else "",
            f"weights sha256 {str(origin.get('weights_sha256'))[:12]}",
        ]
        yield "; ".join(fact for fact in facts if fact)
        info = origin


def _show_final(record: Mapping[str, Any], console: Console) -> None:
    """The closing perplexity as metrics.jsonl holds it, with its notes."""
    perplexity = _value(record, "final", "perplexity")
    if perplexity is not None:
        console.print(escape(f"{record.get('split')} perplexity {number(perplexity)} per token"), soft_wrap=True)
    accuracy, counting = _value(record, "final", "accuracy"), _value(record, "final", "naive_bayes_accuracy")
    if accuracy is not None:
        beside = "" if counting is None else f"; naive Bayes {counting:.2%}"
        console.print(escape(f"{record.get('split')} accuracy {accuracy:.2%}{beside}"), soft_wrap=True)
    for line in remarks(record):
        console.print(escape(line), soft_wrap=True)


def _value(record: Mapping[str, Any], kind: str, name: str) -> float | None:
    """A number of a record of this kind, None where it has none."""
    value = record.get(name)
    return float(value) if record.get("kind") == kind and isinstance(value, (int, float)) else None
