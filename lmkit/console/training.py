"""The display of training: its progress in one line, and a line that stays for each validation."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from typing import Any

from rich.markup import escape

from lmkit.console.terminal.numbers import counted, learning_rate, printable, sparkline
from lmkit.console.terminal.output import open_console
from lmkit.console.terminal.progress import ProgressLine
from lmkit.console.wording import TEXT, Wording
from lmkit.session.placement import Placement
from lmkit.session.session import Session
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord

__all__ = ["TrainingDisplay"]

SAMPLE_LENGTH = 120  # tokens behind a validation
PLAIN_SECONDS = 10.0  # between two lines where there is no terminal
VALIDATION_SECONDS = 1.0  # between two lines of validations, which tiny texts have many of in a second
DETAILS_SECONDS = 0.1, 1.0  # between two means of what steps say, with and without a terminal
BEST = "*"
FADING = 0.9  # what an earlier mean weighs in the next one


class TrainingDisplay:
    """A training on standard error: ``line`` says how far it is, and takes the stages of a session; lines above it
    stay.
    """

    def __init__(self, wording: Wording = TEXT) -> None:
        self.wording = wording
        self.console = open_console(stderr=True)
        self.line = ProgressLine(self.console, plain_seconds=PLAIN_SECONDS)
        self.averaged_at = 0.0
        self.validated_at = -math.inf
        self.tokens_shown, self.elapsed_shown = 0, 0.0
        self.nll, self.count = 0.0, 0.0
        self.curve: list[float] = []

    def __enter__(self) -> TrainingDisplay:
        self.line.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.line.__exit__(*error)

    def say(self, text: str) -> None:
        """A line that stays."""
        with self.line.hidden():
            self.console.print(printable(text), markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """What its user should know of the text or the run."""
        self.say(f"Note: {text}")

    def begin(self, session: Session) -> None:
        """Say what is trained on what."""
        self.session = session
        for line in _headlines(session, self.wording):
            self.say(line)
        self.tokens_shown, self.elapsed_shown = session.train.tokens, session.train.elapsed
        if session.resumed:
            self.say(_resumed_at(session))
            self.curve = session.earlier_validations
        if "valid" in session.corpus.splits:
            self.say(f"{BEST} marks the best validation so far{self.wording.marked(session)}")
        self.line("run", session.progress)

    def record(self, record: StepRecord | EvaluationRecord) -> None:
        """Show a record of the session; of validations that come faster than one can read some are passed over, never
        the last one.
        """
        if isinstance(record, StepRecord):
            self.step(record)
            return
        self.curve.append(record.evaluation.nats_per_target)
        now = time.monotonic()
        if now - self.validated_at >= VALIDATION_SECONDS or self.session.finished:
            self.validated_at = now
            self.evaluation(record, self.wording.sample(self.session, SAMPLE_LENGTH))

    def step(self, record: StepRecord) -> None:
        """Take note of a step; the line shows means over some of them."""
        self.nll += record.nll
        self.count += record.tokens
        now = time.monotonic()
        if now - self.averaged_at < DETAILS_SECONDS[not self.console.is_terminal]:
            return
        self.averaged_at = now
        self.line("run", self.session.progress, list(self._details(record)))
        self.nll, self.count = self.nll * FADING, self.count * FADING

    def _details(self, record: StepRecord) -> Iterator[str]:
        """What is worth knowing while it trains, the most important first."""
        train = self.session.train
        speed = (train.tokens - self.tokens_shown) / max(train.elapsed - self.elapsed_shown, 1e-9)
        self.tokens_shown, self.elapsed_shown = train.tokens, train.elapsed
        epochs = self.session.config.training.epoch_limit
        loss = self.nll / max(1.0, self.count)
        yield f"epoch {record.epoch + 1}" + (f" of {epochs}" if epochs else "")
        yield from self.wording.loss(loss)
        yield f"{speed:,.0f} {self.wording.unit_short}/s"
        yield f"lr {learning_rate(record.lr)}"
        yield f"norm {record.grad_norm:.2f}"
        yield f"step {record.step:,}"

    def evaluation(self, record: EvaluationRecord, sample: str) -> None:
        """A line for a validation, and what the model writes by now."""
        mark = f" {BEST}" if record.is_best else "  "
        metrics = self.wording.validation(record.evaluation)
        if record.averaged:
            metrics += f"  mean of {record.averaged:,}"
        line = f"step {record.step:>6,}  {self.session.train.elapsed:6.1f} s  {metrics}{mark}"
        room = max(20, shutil.get_terminal_size((120, 24)).columns - len(line) - 5)
        self.say(f"{line}  {_one_line(sample, room)}")

    def stopped(self) -> None:
        """How to continue a run that was stopped."""
        train = self.session.train
        saved = "" if self.session.unsaved else "; saved"
        self.say(f"stopped after {counted(train.step, 'step')}, {train.elapsed:.1f} s of training{saved}")
        open_console().print(f"run {self.session.run.path}", markup=False, soft_wrap=True)
        if saved:
            text = "cat TEXT | " if self.session.config.data.corpus == "-" else ""
            self.say(f"To continue: {text}{self.session.kind.command} --resume {self.session.run.path}")

    def summary(self) -> None:
        """The curve, and how much was trained."""
        train = self.session.train
        if len(self.curve) > 1:
            best = train.validations.best if train.validations.best_step else min(self.curve)
            way = f"{self.curve[0]:.3f} → {best:.3f} nats per {self.wording.unit}"
            self.say(f"validation {sparkline(self.curve)}  {way}")
        kept = f"; best at step {train.validations.best_step:,}" if train.validations.best_step else ""
        done = f"{counted(train.step, 'step')}, {counted(train.tokens, self.wording.unit)}"
        self.say(f"trained {done} in {train.elapsed:.1f} s{kept}")

    def closed(self, measurement: Any) -> None:
        """The summary, the run folder and the final metrics, in lines that stay."""
        self.summary()
        self.say(f"run {self.session.run.path}")
        for line in () if measurement is None else self.wording.closing(measurement):
            self.say(line)

    def result(self, measurement: Any, sample: str) -> None:
        """The summary, then the run folder, the final metrics and a sample on standard output."""
        self.summary()
        out = open_console()
        out.print(f"run {self.session.run.path}", markup=False, soft_wrap=True)
        if measurement is not None:
            for line in self.wording.closing(measurement):
                out.print(escape(line), soft_wrap=True)
        if sample:
            out.print()
            out.print(printable(sample) if out.is_terminal else sample, markup=False, soft_wrap=True)
        if self.session.train.step and not self.session.unsaved:
            self.say(f"Now try: {self.wording.next_command(self.session.run.path)}")


def _headlines(session: Session, wording: Wording) -> list[str]:
    model, corpus = session.config.model, session.corpus
    parameters = sum(parameter.numel() for parameter in session.model.parameters())
    placement = session.placement
    return [
        f"{corpus.name}: {corpus.tokenizer.kind} tokens, vocabulary {corpus.tokenizer.vocab_size:,}; "
        f"{wording.sizes(session)}",
        f"{model.shape}, {parameters:,} parameters; "
        f"{placement.device}, {str(placement.precision).removeprefix('torch.')}, "
        f"{_processes(placement)}{counted(placement.threads, 'thread')}",
        f"run {session.run.path}",
    ]


def _processes(placement: Placement) -> str:
    return "" if placement.world.alone else f"{placement.world.size} processes of "


def _resumed_at(session: Session) -> str:
    if session.finished:
        raised = " and ".join(limit.split()[0] for limit in session.limits)
        return (
            f"resumed at step {session.started_at:,}, its end by {' and '.join(session.limits)}: raise {raised} to "
            "continue"
        )
    if not session.started_at:
        return "resumed at the beginning: there is no checkpoint of a later step"
    return f"resumed at step {session.started_at:,}"


def _one_line(text: str, room: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= room else flat[: room - 1] + "…"
