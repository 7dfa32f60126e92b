"""``lmkit train``: a text in, a run folder with a trained model out."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.completers import complete_corpora, complete_presets, complete_runs
from lmkit.cli.options import SectionedCommand, chosen, chosen_options, config_options, make_config, section_options
from lmkit.config import FineTuning
from lmkit.errors import ConfigError, FailedError
from lmkit.files import exists
from lmkit.presets.preset import preset_names

if TYPE_CHECKING:
    from lmkit.console.training import TrainingDisplay
    from lmkit.evaluation.measurement import Measurement
    from lmkit.session.session import Session

__all__ = ["command"]

FINAL_LENGTH = 400


SHORT = (
    "tokenizer",
    "cell",
    "num_layers",
    "hidden_size",
    "dropout",
    "lr",
    "epochs",
    "max_seconds",
    "seed",
    "device",
    "preset",
    "out",
    "init_from",
    "resume",
)
FINE_TUNING = tuple(item.name for item in dataclasses.fields(FineTuning))


@click.command(cls=SectionedCommand, short=SHORT)
@click.argument("texts", metavar="[TEXT]", nargs=-1, shell_complete=complete_corpora)
@config_options
@section_options(FineTuning, "Fine-tuning", FINE_TUNING)
@click.option("--preset", shell_complete=complete_presets, help="Start from a preset: see `lmkit info --presets`.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Read options from a TOML file.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder (default: the first free runs/<corpus>-<n>)."
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    shell_complete=complete_runs,
    help="Continue this run; the result is the uninterrupted run's, bit for bit.",
)
@click.option("--allow-inexact", is_flag=True, help="Resume even where machine, versions, threads or precision differ.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
def command(
    texts: tuple[str, ...],
    preset: str | None,
    config_file: Path | None,
    out: Path | None,
    resume: Path | None,
    allow_inexact: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a language model on a text: a file, a folder, - for standard input, or a name from `lmkit corpora`.

    Without a text it trains on the embedded corpus. Ctrl-C and SIGTERM save the run and end; `lmkit train --resume
    RUN` continues it, after a crash too. `lmkit train TEXT --init-from RUN` fine-tunes a run's model on another text.
    Option names of older toolkits (--nhid, --emsize, --bptt, --learning-rate) are taken as well.
    """
    given["corpus"] = _corpus(texts, given["corpus"])
    if resume is not None and (preset, config_file, out) != (None, None, None):
        raise ConfigError("--resume takes no --preset, --config or --out: the run has its own.")
    if resume is None and allow_inexact:
        raise ConfigError("--allow-inexact needs --resume.")
    start = FineTuning(**chosen(FineTuning, given))
    given = {name: value for name, value in given.items() if name not in FINE_TUNING}
    if resume is not None and start.init_from is not None:
        raise ConfigError("--resume takes no --init-from: the run has its own weights.")
    config = make_config(preset, config_file, given) if resume is None and start.init_from is None else None
    from lmkit.console.terminal.progress import ProgressLine

    with ProgressLine() as line:
        line("loading")
        from lmkit.console.training import TrainingDisplay
        from lmkit.session.session import Session
        from lmkit.session.tuning.origin import Origin

    with TrainingDisplay() as display:
        listeners: dict[str, Any] = {"progress": display.line, "warn": display.say, "note": display.say}
        if start.init_from is not None:
            origin = Origin.open(start)
            config = origin.configure(chosen_options(preset, config_file, given))
            session = Session.begin(config, out, origin=origin, **listeners)
        elif config is not None:
            session = Session.begin(config, out, **listeners)
        else:
            changes = {name: value for name, value in given.items() if value is not None}
            session = Session.resume(resume or Path(), changes, allow_inexact=allow_inexact, **listeners)
        with session:
            result, signal_number = _train(session, display)
    try:
        _report(session, result, display, as_json, stopped=signal_number is not None and result is None)
    finally:
        if session.unsaved:  # worse than a result that cannot be printed
            raise FailedError(session.unsaved)
    if signal_number is not None:
        raise SystemExit(128 + signal_number)


def _corpus(texts: tuple[str, ...], corpus: str | None) -> str | None:
    """The text, given as an argument or as --corpus."""
    if not texts:
        return corpus
    if len(texts) > 1:
        raise ConfigError(
            "Give one text: a file, or a folder of texts; for several files use `cat ... | lmkit train -`."
        )
    (text,) = texts
    if corpus is not None:
        raise ConfigError(f"Give the text once: {text} or --corpus {corpus}, not both.")
    path = Path(text)
    if exists(path / "config.json") and exists(path / "tokenizer.json"):
        raise ConfigError(
            f"{text} is a run, not a text: `lmkit train --resume {text}` continues it, and `lmkit train TEXT "
            f"--init-from {text}` fine-tunes it."
        )
    if text in preset_names() and not exists(path):
        raise ConfigError(f"{text} is a preset, not a text: `lmkit train TEXT --preset {text}`.")
    return text


def _train(session: Session, display: TrainingDisplay) -> tuple[Measurement | None, int | None]:
    """Train and measure, or save and stop at the first signal; return the measurement, and the signal's number."""
    display.begin(session)
    with _first_signal(session) as seen:
        try:
            with closing(session.records()) as records:
                for record in records:
                    display.record(record)
                    if seen:
                        raise _Stopped
            if seen:
                raise _Stopped
            result = session.close()
            return result, seen[0] if seen else None
        except _Stopped:
            display.say(f"Stopping at step {session.train.step:,}: saving. Press again to quit now.")
            session.stop()
            return None, seen[0]


class _Stopped(BaseException):
    """A signal has come. No Exception: nothing that cleans up after errors must take it for one."""


@contextmanager
def _first_signal(session: Session) -> Iterator[list[int]]:
    """A list that the first signal which asks to end makes non-empty. A measurement is broken off, it changes nothing;
    all else continues to the next record. The second signal ends the process at once.
    """
    seen: list[int] = []

    def break_off() -> None:
        if seen:
            raise _Stopped

    session.measurements.before = break_off

    def note(number: int, frame: Any) -> None:
        if seen:
            if os.isatty(2):
                os.write(2, b"\r\x1b[K")  # no half of a progress line
            os._exit(128 + number)
        seen.append(number)
        if session.measurements.going_on:
            raise _Stopped

    try:
        before = {number: signal.signal(number, note) for number in _stopping_signals()}
    except ValueError:  # not the main thread: signals are somebody else's business
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopping_signals() -> list[signal.Signals]:
    """Those that ask a program to end. SIGHUP comes from a terminal that was closed; nohup has it ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def _report(
    session: Session, result: Measurement | None, display: TrainingDisplay, as_json: bool, *, stopped: bool
) -> None:
    from lmkit.console.training import sample_of

    if not as_json:
        if stopped:
            display.stopped()
        else:
            display.result(result, sample_of(session, FINAL_LENGTH) if session.train.step else "")
        return
    summary: dict[str, Any] = {
        "run": str(session.run.path),
        "steps": session.train.step,
        "tokens": session.train.tokens,
        "stopped": stopped,
    }
    summary["seconds"] = round(session.train.elapsed, 3)
    if session.train.validations.best_step:
        summary["best_step"] = session.train.validations.best_step
        summary["valid_nats_per_token"] = session.train.validations.best
    if result is not None:
        summary["result"] = result.metrics()
    click.echo(json.dumps(summary))
