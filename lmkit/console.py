"""What people see: the live display of training, and tables. The only room that knows rich."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from lmkit.evaluation.measurement import Measurement
from lmkit.run import RunDirectory
from lmkit.session import Session
from lmkit.text.registry import CorpusEntry
from lmkit.text.statistics import TokenizerStatistics
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord

__all__ = [
    "TrainingDisplay",
    "show_corpora",
    "show_measurement",
    "show_presets",
    "show_run",
    "show_statistics",
    "show_tokens",
    "sparkline",
]

PLAIN_SECONDS = 10.0  # between two lines where there is no terminal
REFRESH_SECONDS = 0.1
BARS = "▁▂▃▄▅▆▇█"


class TrainingDisplay:
    """Progress of a training on standard error: a live bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self.task: TaskID | None = None
        self.stage = ""
        self.shown_at = 0.0
        self.tokens_shown, self.elapsed_shown = 0, 0.0
        self.nll, self.count = 0.0, 0
        self.curve: list[float] = []

    def __enter__(self) -> TrainingDisplay:
        if self.live:
            self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.progress.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(escape(text), soft_wrap=True)

    def preparing(self, stage: str, fraction: float) -> None:
        """Reading, learning tokens, encoding: shown while it takes long."""
        if not self.live:
            return
        if self.task is None:
            self.task = self.progress.add_task(stage, total=1.0, figures="")
        if stage != self.stage or time.monotonic() - self.shown_at > REFRESH_SECONDS:
            self.stage, self.shown_at = stage, time.monotonic()
            self.progress.update(self.task, description=stage, completed=fraction, refresh=True)

    def begin(self, session: Session) -> None:
        """Say what is trained on what."""
        self.session = session
        if self.task is not None:
            self.progress.remove_task(self.task)
        for line in _headlines(session):
            self.say(line)
        if self.live:
            self.task = self.progress.add_task("training", total=1.0, figures="")
        self.shown_at = time.monotonic()

    def step(self, record: StepRecord) -> None:
        """Take note of a step; show it if the last picture is old enough."""
        self.nll += record.nll
        self.count += record.tokens
        now = time.monotonic()
        if now - self.shown_at < (REFRESH_SECONDS if self.live else PLAIN_SECONDS):
            return
        train = self.session.train
        seconds = max(train.elapsed - self.elapsed_shown, 1e-9)
        speed = (train.tokens - self.tokens_shown) / seconds
        self.shown_at, self.tokens_shown, self.elapsed_shown = now, train.tokens, train.elapsed
        loss = self.nll / max(1, self.count)
        figures = f"loss {loss:.3f}  ppl {_exp(loss):.4g}  lr {record.lr:.1e}  norm {record.grad_norm:.2f}"
        figures += f"  {speed:,.0f} tok/s"
        self.nll, self.count = self.nll * 0.9, int(self.count * 0.9)  # a moving mean: old steps fade
        done = self.session.progress
        if self.live and self.task is not None:
            self.progress.update(
                self.task, description=f"epoch {record.epoch + 1}", completed=done, figures=figures, refresh=True
            )
        else:
            left = train.elapsed * (1 - done) / done if done else math.nan
            self.say(f"{done:4.0%}  epoch {record.epoch + 1}  step {record.step:,}  {figures}  {left:.0f} s left")

    def evaluation(self, record: EvaluationRecord, sample: str) -> None:
        """A line for a validation, and what the model writes by now."""
        self.curve.append(record.evaluation.nats_per_token)
        mark = " *" if record.is_best else "  "
        figures = f"valid {record.evaluation.nats_per_token:.4f} nats  ppl {record.evaluation.perplexity:.4g}"
        line = f"step {record.step:>6,}  {self.session.train.elapsed:6.1f} s  {figures}{mark}"
        room = max(20, shutil.get_terminal_size((120, 24)).columns - len(line) - 5)
        self.say(f"{line}  {_one_line(sample, room)}")

    def result(self, measurement: Measurement | None, sample: str) -> None:
        """The run folder, the curve, the final figures on standard output, and a sample."""
        train = self.session.train
        if len(self.curve) > 1:
            self.say(f"validation {sparkline(self.curve)}  {self.curve[0]:.3f} → {min(self.curve):.3f} nats per token")
        self.say(
            f"trained {train.step:,} steps, {train.tokens:,} tokens in {train.elapsed:.1f} s; "
            f"best at step {train.annealing.best_step:,}"
        )
        out = Console(highlight=False)
        out.print(escape(f"run {self.session.run.path}"), soft_wrap=True)
        if measurement is not None:
            out.print(escape(_headline_of(measurement)), soft_wrap=True)
        if sample:
            out.print()
            out.print(escape(sample), soft_wrap=True)


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of block characters; more than ``width`` values are thinned evenly."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    if len(finite) > width:
        finite = [finite[round(place * (len(finite) - 1) / (width - 1))] for place in range(width)]
    low, high = min(finite), max(finite)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in finite)


def show_measurement(measurement: Measurement, *, words_only: bool, file: TextIO) -> None:
    """Every figure of an evaluation in one table, with how it was measured."""
    figures = measurement.figures()
    result = measurement.evaluation
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    word = "words_only_perplexity" if words_only else "word_perplexity"
    lossy = "" if measurement.lossless else "lossy: lower bound"
    rows = [
        ("perplexity", _number(figures["perplexity"]), f"per token, over {result.tokens:,} tokens"),
        ("nats per token", _number(figures["nats_per_token"]), ""),
        ("bits per token", _number(figures["bits_per_token"]), ""),
        ("bits per character", _number(figures["bits_per_char"]), _joined(f"{result.chars:,} characters", lossy)),
        ("bits per byte", _number(figures["bits_per_byte"]), _joined(f"{result.bytes:,} bytes", lossy)),
        (
            "word perplexity",
            _number(figures[word]),
            _joined(f"{result.words:,} words" + ("" if words_only else f" + {result.line_ends:,} line ends"), lossy),
        ),
        (
            "without <unk>",
            _number(figures["perplexity_excluding_oov"]),
            f"perplexity; {result.oov:,} <unk>, {result.oov_rate:.2%} of tokens",
        ),
        ("nll", f"{result.nll:,.2f}", "nats, the sum"),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console(file=file, highlight=False)
    console.print(table)
    how = f"{measurement.split}: state {measurement.state}, {_rows(measurement)}, {measurement.precision}"
    console.print(escape(how), style="dim", soft_wrap=True)


def show_corpora(entries: Sequence[CorpusEntry], *, whole: bool) -> None:
    """The registry as a table, or one entry in full."""
    console = Console(highlight=False)
    if whole:
        for entry in entries:
            console.print(f"[bold]{escape(entry.name)}[/bold]  {escape(entry.title)}")
            console.print(escape(entry.description))
            console.print(
                escape(f"{entry.kind}; source: {entry.source}; licence: {entry.licence}; size: {_size(entry.size)}")
            )
        return
    table = Table(box=None, pad_edge=False)
    for name in ("name", "kind", "size", "what it is"):
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=name == "name")
    for entry in entries:
        table.add_row(escape(entry.name), entry.kind, _size(entry.size), escape(entry.title))
    console.print(table)
    console.print("Any file or folder works by its path. `lmkit corpora NAME` tells more.", style="dim")


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
    console = Console(highlight=False)
    console.print(table)
    console.print("Learnt on the first 90 % of the text, counted on the last 10 %.", style="dim")


def show_tokens(tokens: Sequence[tuple[int, str]], total: int, oov: int, vocab_size: int) -> None:
    """Ids with their tokens."""
    console = Console(highlight=False)
    console.print(escape(" ".join(f"{id}:{token!r}" for id, token in tokens)), soft_wrap=True)
    console.print(f"{total:,} tokens, {oov:,} of them <unk>; vocabulary {vocab_size:,}", style="dim")


def show_presets(names: Sequence[str]) -> None:
    """The presets, one a line."""
    Console(highlight=False).print("\n".join(names))


def show_run(run: RunDirectory) -> None:
    """Configuration, corpus, size and the curve of a run."""
    config, info, metrics = run.config(), run.info(), run.metrics()
    console = Console(highlight=False)
    console.print(f"[bold]{escape(str(run.path))}[/bold]")
    corpus = info.get("corpus", {})
    console.print(
        escape(f"corpus {corpus.get('name', '?')}; {info.get('parameters', 0):,} parameters; {info.get('cpu', '')}")
    )
    for section, values in config.to_dict().items():
        shown = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
        console.print(f"[bold]{section}[/bold] {escape(shown)}")
    curve = [record["nats_per_token"] for record in metrics if record.get("kind") == "evaluation"]
    if curve:
        console.print(f"validation {sparkline(curve)}  best {min(curve):.4f} nats per token")
    for record in metrics:
        if record.get("kind") == "final":
            console.print(
                f"{record['split']} perplexity {record['perplexity']:.4f} over {record['tokens_scored']:,} tokens"
            )


def _headlines(session: Session) -> list[str]:
    model, corpus = session.config.model, session.corpus
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in corpus.splits.items())
    parameters = sum(parameter.numel() for parameter in session.model.parameters())
    info = session.run.info()
    return [
        f"{corpus.name}: {corpus.tokenizer.kind} tokens, vocabulary {corpus.tokenizer.vocab_size:,}; {sizes}",
        f"{model.cell} {model.num_layers} x {model.hidden_size}, {parameters:,} parameters; "
        f"{info['device']}, {info['precision']}, {info['threads']} threads",
        f"run {session.run.path}",
    ]


def _headline_of(measurement: Measurement) -> str:
    result = measurement.evaluation
    text = f"{measurement.split} perplexity {result.perplexity:.4g} per token"
    text += f", {result.bits_per_char:.3f} bits per character"
    if not measurement.lossless:
        text += " (lossy: lower bound)"
    return f"{text} ({_rows(measurement)}, state {measurement.state}, {measurement.precision})"


def _rows(measurement: Measurement) -> str:
    if measurement.rows == 1:
        return "one stream" if measurement.state == "carry" else f"one row, window {measurement.window}"
    warmup = f" with a warm-up of {measurement.warmup}" if measurement.warmup else ""
    return f"{measurement.rows} rows{warmup}"


def _one_line(text: str, room: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= room else flat[: room - 1] + "…"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _size(size: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
