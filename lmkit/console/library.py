"""Trainings in Python: ``train``, ``train_classifier`` and ``resume``, with the display of the command line, unless
they are to be quiet.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from lmkit.api import TrainedModel, load, load_language_model
from lmkit.classify.trained import TrainedClassifier, load_classifier
from lmkit.classify.training.kind import CLASSIFIERS
from lmkit.classify.training.options import configure
from lmkit.config import ClassifierConfig, Config, FineTuning, flatten
from lmkit.console.classifier_training import LABELS
from lmkit.console.options import Changes, Options, OptionsOfClassifiers, shows_options
from lmkit.console.training import TrainingDisplay
from lmkit.console.wording import TEXT, Wording
from lmkit.distributed.launch import Launch
from lmkit.distributed.script import world_of_script
from lmkit.distributed.world import World
from lmkit.errors import FailedError, LmkitWarning
from lmkit.run.directory import RunDirectory
from lmkit.session.language.kind import LANGUAGE_MODELS
from lmkit.session.processes.follower import Follower
from lmkit.session.session import Session
from lmkit.session.tuning.origin import Origin

__all__ = ["resume", "train", "train_classifier"]

Say = Callable[[str], None]
LOST = "Another process of this training has ended. lmkit.resume continues from the last checkpoint."


class _Listener(NamedTuple):
    """Who follows a training: the display, unless it is quiet, and what hears of warnings."""

    display: TrainingDisplay | None
    warn: Say

    def arguments(self) -> dict[str, Any]:
        if self.display is None:
            return {"warn": self.warn}
        return {"warn": self.warn, "note": self.display.note, "progress": self.display.line}


@shows_options(Options.__annotations__, with_defaults=True)
def train(
    corpus: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    config: Config | None = None,
    init_from: str | os.PathLike[str] | None = None,
    init_checkpoint: str | int = FineTuning.init_checkpoint,
    extend_vocab: str = FineTuning.extend_vocab,
    quiet: bool = False,
    warn: Say | None = None,
    **options: Unpack[Options],
) -> TrainedModel:
    """Train a model and return the best one, as in ``train("book.txt", hidden_size=512, epochs=5)``.

    corpus: the text, as ``lmkit train`` takes it: a file, a folder, or a name from ``lmkit corpora`` (default: the
    embedded text). out: the run folder (default: the first free ``runs/<corpus>-<n>``). config: a whole configuration,
    which the options change. init_from: a run to begin from (fine-tuning): its network and tokenizer are taken, with
    the weights of its model ``init_checkpoint`` (best, last, or a step); ``extend_vocab`` (none, characters, words)
    adds what its vocabulary lacks; of ``config`` those options count that differ from the defaults. quiet: train
    without the display on standard error. warn: receives a sentence for a full disk and for skipped steps (default: the
    display, or Python's warnings). For records while it trains use ``lmkit.Session``. Raises DataError for a text that
    is missing or cannot be used, ConfigError for options that cannot be, RunError for a run that cannot be begun from,
    and makes no folder then.

    In a script that torchrun has started all processes call this and train one model together; what one of them cannot
    do is raised in all, and FailedError where one has ended.
    """
    given: dict[str, Any] = {**options, **({} if corpus is None else {"corpus": os.fspath(corpus)})}
    start = FineTuning(None if init_from is None else os.fspath(init_from), str(init_checkpoint), extend_vocab)
    world, origin = world_of_script(), None
    with world.watched(LOST), world.together():
        if start.init_from is None:
            chosen = (config or Config()).override(given)
        else:
            origin = Origin.open(start)
            chosen = origin.configure({**_changed(config or Config()), **given})

    def lead(listener: _Listener) -> Session:
        folder = None if out is None else Path(out)
        return Session.begin(chosen, folder, origin=origin, world=world, **listener.arguments())

    def follow() -> Follower:
        return Follower.begin(LANGUAGE_MODELS, chosen, world, origin)

    return load_language_model(*_train_in_all(world, lead, follow, quiet=quiet, warn=warn))


@shows_options(OptionsOfClassifiers.__annotations__, with_defaults=True, kind=ClassifierConfig)
def train_classifier(
    data: str | os.PathLike[str],
    *,
    encoder: str | os.PathLike[str] | None = None,
    encoder_checkpoint: str | int = FineTuning.init_checkpoint,
    out: str | os.PathLike[str] | None = None,
    config: ClassifierConfig | None = None,
    quiet: bool = False,
    warn: Say | None = None,
    **options: Unpack[OptionsOfClassifiers],
) -> TrainedClassifier:
    """Train a classifier of texts and return the best one, as in ``train_classifier("train.csv", encoder="lm")``.

    data: texts and labels: CSV, TSV, or one JSON object a line. encoder: a run of a language model whose embedding,
    layers and tokenizer are taken, with the weights of its model ``encoder_checkpoint`` (best, last, or a step);
    without one they are new. out: the run folder (default: the first free ``runs/<data>-<n>``). config: a whole
    configuration, which the options change. quiet, warn: as for ``train``. Raises DataError for a file that is missing
    or cannot be used, ConfigError for options that cannot be, RunError for an encoder that cannot be used, and makes no
    folder then.
    """
    Launch.read().check_alone("lmkit.train_classifier")
    given: dict[str, Any] = {**options, "corpus": os.fspath(data)}
    start = None if encoder is None else FineTuning(os.fspath(encoder), str(encoder_checkpoint))
    origin = None if start is None else Origin.open(start, "--encoder")
    chosen = configure(given, origin, config)
    how: dict[str, Any] = {"out": None if out is None else Path(out), "origin": origin, "kind": CLASSIFIERS}
    with _listener(quiet, warn, LABELS) as listener, Session.begin(chosen, **how, **listener.arguments()) as session:
        _train(session, listener.display)
    return load_classifier(session.run.path, session.device.type)


@shows_options(Changes.__annotations__, with_defaults=False)
def resume(
    run: str | os.PathLike[str],
    *,
    allow_inexact: bool = False,
    quiet: bool = False,
    warn: Say | None = None,
    **changes: Unpack[Changes],
) -> TrainedModel | Any:
    """Continue a run that was interrupted, to the bits of an uninterrupted one, and return the best model: of a run of
    a classifier a ``TrainedClassifier``.

    changes: what a resume may change; ``corpus`` where the text has moved. allow_inexact: continue even where machine,
    versions, threads or precision differ. quiet, warn, several processes: as for ``train``. Raises RunError and
    ConfigError as ``lmkit.Session.resume`` does.
    """
    world, is_classifier = world_of_script(), False
    with world.watched(LOST), world.together():
        if world.main:
            is_classifier = RunDirectory.open(run).config_values().get("kind") == ClassifierConfig.kind
            if is_classifier:
                world.launch.check_alone("lmkit.resume of a classifier")
    kind, wording = (CLASSIFIERS, LABELS) if is_classifier else (LANGUAGE_MODELS, TEXT)

    def lead(listener: _Listener) -> Session:
        how: dict[str, Any] = {"allow_inexact": allow_inexact, "kind": kind, "world": world, **listener.arguments()}
        return Session.resume(Path(run), {**changes}, **how)

    def follow() -> Follower:
        return Follower.resume(kind, world)

    return load(*_train_in_all(world, lead, follow, quiet=quiet, warn=warn, wording=wording))


def _changed(config: Config) -> dict[str, Any]:
    """The options of a configuration that differ from the defaults."""
    defaults = flatten(Config().to_dict())
    return {name: value for name, value in flatten(config.to_dict()).items() if value != defaults[name]}


def _train_in_all(
    world: World,
    lead: Callable[[_Listener], Session],
    follow: Callable[[], Follower],
    *,
    quiet: bool,
    warn: Say | None,
    wording: Wording = TEXT,
) -> tuple[Path, str]:
    """Train to the end in all processes of the script: the run's folder, and the type of this process's device.

    Where the first process cannot go on, its error is raised in each of them.
    """
    path = Path()
    with world.watched(LOST):
        with world.together():
            if world.main:
                with _listener(quiet, warn, wording) as listener, lead(listener) as session:
                    _train(session, listener.display)
                path, device = session.run.path, session.device.type
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", LmkitWarning)  # the first process has them, too
                    follower = follow()
                follower.run()
                device = follower.setup.placement.device.type
        return world.broadcast(path), device


@contextlib.contextmanager
def _listener(quiet: bool, warn: Say | None, wording: Wording = TEXT) -> Iterator[_Listener]:
    if quiet:
        yield _Listener(None, warn or warnings.warn)
        return
    with TrainingDisplay(wording) as display:
        yield _Listener(display, warn or display.say)


def _train(session: Session, display: TrainingDisplay | None) -> None:
    """Train to the end."""
    if display is None:
        for _ in session.records():
            pass
        session.close()
    else:
        display.begin(session)
        for record in session.records():
            display.record(record)
        display.closed(session.close())
    if session.unsaved:
        raise FailedError(session.unsaved)
