"""The arm of most experiments: a language model that is trained with some options and measured."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.api import TrainedModel, load_language_model
from lmkit.config import Config
from lmkit.errors import FailedError, NonFiniteError, RunError
from lmkit.evaluation.perplexity import Evaluation
from lmkit.experiments.contract.interruption import Interrupted
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.tools.sizes import with_parameters
from lmkit.files import is_file, write_atomically
from lmkit.run.directory import CONFIG
from lmkit.run.json_files import read_object
from lmkit.run.log import finite
from lmkit.session.session import Session
from lmkit.text.corpus import build_corpus
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord

__all__ = ["BASE", "LanguageModelRun", "options_of", "train_language_model", "vocabulary_size"]

# One thread, because two runs go side by side, and arithmetic that is the same on every processor.
BASE: Mapping[str, Any] = {"device": "cpu", "precision": "float32", "threads": 1}
MEASURING_ROWS = 64  # read side by side and then on into each other: the figure is that of the one stream
VALIDATIONS = 8
QUICK_TEXT = "markov:1200"
CLOCK = "clock.json"  # beside the run: the seconds of the processor, where another process may go on
Listener = Callable[[Session, StepRecord | EvaluationRecord], None]


class LanguageModelRun(NamedTuple):
    """A training that has ended. model: the best one on validation, None where the loss was not finite. numbers: what
    ``measure`` may give as they are: valid and test in nats per token, their bits per byte, parameters, hidden_size,
    targets, updates, targets_per_update, best_step, diverged, curve_steps and curve (validations on the way), and the
    clocks train_seconds (inside the loop) and cpu_seconds (of the processor for the steps, over all processes that took
    part; None where one of them was killed).
    """

    model: TrainedModel | None
    numbers: dict[str, Any]


def train_language_model(
    trial: Trial,
    options: Mapping[str, Any],
    *,
    parameters: int | None = None,
    multiple: int = 2,
    listener: Listener | None = None,
) -> LanguageModelRun:
    """Train a language model in the trial's folder, or go on with the training that an interruption has left there, to
    the same bits; measure the best model on validation and test (in a trial that only serves to choose, not the test).

    options: those of ``lmkit train`` by their names. The text is ``corpus`` of the options, else the one that
    the user has chosen, else pydoc, or a small generated one in a quick experiment; the seeds are the trial's, unless
    ``init_seed`` or ``data_seed`` are given. parameters: the hidden size is the multiple of
    ``multiple`` that gives a network of about as many. listener: is called with the session and each record, of those
    steps that this process takes.
    """
    config = options_of(trial, options, parameters=parameters, multiple=multiple)
    with _session(config, trial.folder / "run") as session:
        try:
            cpu_seconds = _train(session, trial, listener)
            tested = _end(session, measures=not trial.tuning)
        except NonFiniteError:
            return LanguageModelRun(None, {**_numbers(session, None), "valid": None, "diverged": True})
        model = load_language_model(session.run.path, "cpu")
        found = {**_numbers(session, cpu_seconds), **_validated(session, model), **tested, "diverged": False}
        return LanguageModelRun(model, found)


def options_of(trial: Trial, options: Mapping[str, Any], *, parameters: int | None = None, multiple: int = 2) -> Config:
    """The configuration that ``train_language_model`` trains with."""
    own = trial.scale.pick(Config().data.corpus, QUICK_TEXT)
    chosen: dict[str, Any] = {**BASE, "seed": trial.seed, "corpus": trial.scale.corpus or own, **options}
    if parameters is not None:
        chosen = with_parameters(chosen, parameters, vocabulary_size(chosen), multiple=multiple)
    if "max_steps" in chosen:
        validations = trial.scale.pick(VALIDATIONS, 1)
        chosen.setdefault("eval_every", -(-chosen["max_steps"] // validations))
    return Config().override(chosen)


def vocabulary_size(options: Mapping[str, Any]) -> int:
    """The size of the vocabulary that options of a training lead to."""
    return build_corpus(Config().override(options).data).tokenizer.vocab_size


@contextlib.contextmanager
def _session(config: Config, folder: Path) -> Iterator[Session]:
    """The training in a folder, begun or gone on with. One that another machine has begun, or that a crash has left
    without what a resume needs, is begun anew.
    """
    session = None
    if is_file(folder / CONFIG):
        with contextlib.suppress(RunError):
            session = Session.resume(folder)
    if session is None:
        shutil.rmtree(folder, ignore_errors=True)
        session = Session.begin(config, folder)
    with session:
        yield session


def _train(session: Session, trial: Trial, listener: Listener | None) -> float | None:
    """Train to the end; the processor's seconds of the steps, None where they are not known. A training that is
    interrupted is saved where it is.
    """
    session.measurements.before = trial.interruption.check
    clock = trial.folder / CLOCK
    seconds, began = _seconds_before(session, clock), time.process_time()
    try:
        with trial.interruption.patient(), closing(session.records()) as records:
            for record in records:
                seconds += time.process_time() - began if isinstance(record, StepRecord) else 0.0
                if listener is not None:
                    listener(session, record)
                trial.interruption.check()
                began = time.process_time()
    except Interrupted:
        session.stop()
        raise
    finally:
        write_atomically(clock, json.dumps({"step": session.train.step, "seconds": finite(seconds)}))
    return finite(seconds)


def _seconds_before(session: Session, clock: Path) -> float:
    """What earlier processes took for the steps up to here; nan where one has not left word of just these."""
    if not session.resumed:
        return 0.0
    with contextlib.suppress(RunError):
        found = read_object(clock)
        if found.get("step") == session.started_at and isinstance(found.get("seconds"), float):
            return float(found["seconds"])
    return math.nan


def _end(session: Session, *, measures: bool) -> dict[str, Any]:
    """End the run with its closing figure, if that is the test's, or leave it where it only served to choose. Raises
    FailedError where the disk has not taken it.
    """
    found: dict[str, Any] = {}
    if measures:
        result = session.close()
        found = _units("test", result.evaluation) if result is not None and result.split == "test" else {}
    else:
        session.stop()
    if session.unsaved:
        raise FailedError(session.unsaved)
    return found


def _numbers(session: Session, cpu_seconds: float | None) -> dict[str, Any]:
    """What the training itself says."""
    train = session.train
    records = [one for one in session.run.metrics().records if one.get("kind") == "evaluation"]
    return {
        "valid": train.validations.best if train.validations.best_step else None,
        "best_step": train.validations.best_step,
        "parameters": sum(parameter.numel() for parameter in session.model.parameters()),
        "hidden_size": session.config.model.hidden_size,
        "targets": train.tokens,
        "updates": train.step,
        "targets_per_update": train.tokens / max(1, train.step),
        "curve_steps": [one["step"] for one in records],
        "curve": [one["nats_per_token"] for one in records],
        "train_seconds": train.elapsed,
        "cpu_seconds": cpu_seconds,
    }


def _validated(session: Session, model: TrainedModel) -> dict[str, Any]:
    """The best model on validation, where there is one, as exactly as the test: validations on the way are not."""
    if "valid" not in session.corpus.splits:
        return {}
    return _units("valid", model.measure(session.corpus.splits["valid"], split="valid", rows=MEASURING_ROWS).evaluation)


def _units(split: str, result: Evaluation) -> dict[str, float]:
    return {
        split: result.nats_per_token,
        f"{split}_bits_per_byte": result.bits_per_byte,
        f"{split}_bits_per_char": result.bits_per_char,
        f"{split}_oov_rate": result.oov_rate,
    }
