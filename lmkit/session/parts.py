"""The parts that a session is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lmkit.config import Config
from lmkit.distributed.world import ALONE, World
from lmkit.files import check_new_folder
from lmkit.run.directory import RunDirectory, free_run_path
from lmkit.run.lock import FolderLock
from lmkit.session.guessing import GuessingAlarm
from lmkit.session.kind import Kind
from lmkit.session.log import SessionLog
from lmkit.session.measurements import Measurements
from lmkit.session.placement import Placement
from lmkit.session.processes.joint_setup import prepare_in_all
from lmkit.session.records.fingerprint import fingerprint
from lmkit.session.records.run_info import run_info
from lmkit.session.reports import Reports
from lmkit.session.saving.best_model import BestModel
from lmkit.session.saving.rollback import Rollback
from lmkit.session.saving.saver import Moment, Saver
from lmkit.session.setup import TrainingSetup
from lmkit.session.tuning.origin import Origin
from lmkit.session.unused import notes_on_unused
from lmkit.text.corpus import Progress

__all__ = ["Parts", "Say", "begin"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Parts:
    """All that a session needs, whole: nothing is added later. resumed_at: the step that a resume went on from, None
    for a run that begins. earlier: nats per target of the validations up to it.
    """

    kind: Kind
    setup: TrainingSetup
    run: RunDirectory
    lock: FolderLock
    log: SessionLog
    best: BestModel
    rollback: Rollback
    saver: Saver
    measurements: Measurements
    reports: Reports
    alarm: GuessingAlarm
    warn: Say
    resumed_at: int | None = None
    earlier: Sequence[float] = ()

    @classmethod
    def make(
        cls,
        kind: Kind,
        setup: TrainingSetup,
        lock: FolderLock,
        log: SessionLog,
        machine: Mapping[str, Any],
        warn: Say,
        progress: Progress | None,
        *,
        best_sha256: str = "",
        saved: Moment | None = None,
        resumed_at: int | None = None,
        earlier: Sequence[float] = (),
    ) -> Parts:
        """The parts for a setup and a run folder that is held. machine: its fingerprint. best_sha256, saved: of the
        best model and the newest checkpoint, where there are any.
        """
        run = RunDirectory(lock.folder, lock.check)
        best, rollback = BestModel(setup, run, warn, best_sha256), Rollback(setup, run, warn)
        saver = Saver(setup, run, log, best, rollback, machine, warn, saved)
        measurements, reports = kind.measurements(setup, progress), Reports(kind, setup, run, warn)
        alarm = kind.alarm(setup, measurements, warn)
        made = (kind, setup, run, lock, log, best, rollback, saver, measurements, reports, alarm, warn)
        return cls(*made, resumed_at, earlier)


def begin(
    kind: Kind,
    config: Config,
    out: Path | None,
    *,
    origin: Origin | None = None,
    world: World = ALONE,
    progress: Progress | None,
    warn: Say,
    note: Say,
) -> Parts:
    """A new run, or with an origin one that begins from another run's weights. Everything is checked and made before
    its folder appears.
    """

    def place() -> Placement:
        if out is not None:
            check_new_folder(out)
        return Placement.of(config, world)

    setup = prepare_in_all(kind, config, place, world, origin=origin, progress=progress)
    with setup.orders.ended_by_errors():
        for text in (*kind.notes(setup), *notes_on_unused(setup)):
            note(text)
        path, machine = out or free_run_path(setup.corpus.name), fingerprint(setup.placement)
        first = [] if origin is None else [partial(_save_first, kind, setup, machine)]
        run = RunDirectory.create(path, setup.config, setup.corpus.tokenizer, run_info(setup), *first)
        lock, saved = FolderLock(run.path), None if origin is None else Moment.of(setup)
        log = SessionLog(path, lock.check, kind.unit)
        return Parts.make(kind, setup, lock, log, machine, warn, progress, saved=saved)


def _save_first(kind: Kind, setup: TrainingSetup, machine: Mapping[str, Any], folder: Path) -> None:
    """The checkpoint of step 0, which holds weights that no seed gives: they are in the run before the run is there."""
    run, log, warn = RunDirectory(folder), SessionLog(folder, unit=kind.unit), warnings.warn
    Saver(setup, run, log, BestModel(setup, run, warn), Rollback(setup, run, warn), machine, warn).write()
