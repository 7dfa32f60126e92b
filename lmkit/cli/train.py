"""``lmkit train``: a text in, a run folder with a trained model out."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.options import SectionedCommand, config_options, make_config

if TYPE_CHECKING:
    from lmkit.console.training import TrainingDisplay
    from lmkit.evaluation.measurement import Measurement
    from lmkit.session import Session

__all__ = ["command"]

SAMPLE_LENGTH = 120
FINAL_LENGTH = 400


@click.command(cls=SectionedCommand)
@config_options
@click.option("--preset", help="Start from a preset: see `lmkit info --presets`.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Read options from a TOML file.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder (default: the first free runs/<corpus>-<n>)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
def command(preset: str | None, config_file: Path | None, out: Path | None, as_json: bool, **given: Any) -> None:
    """Train a language model on a text.

    Without any option it trains a character model on the embedded corpus. Ctrl-C ends the training early and keeps
    the best model so far. Option names of older toolkits (--nhid, --emsize, --bptt, --learning-rate) are taken too.
    """
    config = make_config(preset, config_file, given)
    from lmkit.console.training import TrainingDisplay
    from lmkit.session import Session

    with TrainingDisplay() as display:
        session = Session(config, out, progress=display.preparing)
        display.begin(session)
        interrupted = _train(session, display)
        result = session.close()
    _report(session, result, display, as_json)
    if interrupted:
        raise SystemExit(130)


def _train(session: Session, display: TrainingDisplay) -> bool:
    """Train to the end or to the first Ctrl-C; return whether it was interrupted."""
    from lmkit.training.step import StepRecord

    # closed here, so that the last metrics are written now and not when the program ends
    with _first_interrupt() as interrupted, closing(session.records()) as records:
        for record in records:
            if isinstance(record, StepRecord):
                display.step(record)
            else:
                display.evaluation(record, _sample(session, SAMPLE_LENGTH))
            if interrupted:
                display.say("Interrupted: keeping the best model so far. Press Ctrl-C again to quit at once.")
                return True
    return False


@contextmanager
def _first_interrupt() -> Iterator[list[int]]:
    """A list that the first Ctrl-C makes non-empty; the second one has its usual effect."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: signals are somebody else's business
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _sample(session: Session, length: int) -> str:
    from lmkit.api import TrainedModel

    counts = vars(session.corpus.splits["train"].counts)
    return TrainedModel(session.model, session.corpus.tokenizer, session.config, training_counts=counts).sample(
        length=length, seed=session.config.runtime.seed, temperature=0.8
    )


def _report(session: Session, result: Measurement | None, display: TrainingDisplay, as_json: bool) -> None:
    text = _sample(session, FINAL_LENGTH) if session.train.step else ""
    if not as_json:
        display.result(result, text)
        return
    figures: dict[str, Any] = {
        "run": str(session.run.path),
        "steps": session.train.step,
        "tokens": session.train.tokens,
    }
    figures["seconds"] = round(session.train.elapsed, 3)
    if session.train.annealing.best_step:
        figures["best_step"] = session.train.annealing.best_step
        figures["valid_nats_per_token"] = session.train.annealing.best
    if result is not None:
        figures["result"] = result.figures()
    click.echo(json.dumps(figures))
