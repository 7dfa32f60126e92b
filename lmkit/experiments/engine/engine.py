"""The engine: from an experiment to its result, by way of runs that are made once, wherever it was interrupted."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lmkit.errors import ConfigError, FailedError, LmkitError
from lmkit.experiments.contract.arm import Arm, file_name
from lmkit.experiments.contract.experiment import EQUAL_TARGETS, Experiment
from lmkit.experiments.contract.interruption import Interruption
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.engine.checks import unequal
from lmkit.experiments.engine.page import markdown
from lmkit.experiments.engine.result import Result
from lmkit.experiments.engine.store import Store, identity
from lmkit.experiments.engine.task import Task, counted_tasks, ends_of_grids, tuning_tasks
from lmkit.experiments.engine.workers import in_this_process, side_by_side
from lmkit.files import exists, write_atomically
from lmkit.plots.render import MISSING, can_render, render
from lmkit.run.lock import FolderLock
from lmkit.session.placement import Placement
from lmkit.session.records.fingerprint import fingerprint
from lmkit.text.cut_text import Progress, say_nothing

__all__ = ["QUICK_SEEDS", "RESULT", "default_folder", "run_experiment", "scale_of"]

QUICK_SEEDS = 2
QUICK_DIFFERENCE = 0.1
RESULT = "result.json"


def scale_of(
    experiment: Experiment, *, quick: bool = False, seeds: int | None = None, corpus: str | None = None
) -> Scale:
    """The scale that a user asks for. Raises ConfigError for what the experiment does not take."""
    if corpus is not None and not experiment.takes_text:
        raise ConfigError(f"The experiment {experiment.name} has texts of its own: leave out --data.")
    if corpus == "-":
        raise ConfigError("Every run reads the text, and standard input is read once: give --data a file.")
    if seeds is not None and seeds < 2:
        raise ConfigError(f"--seeds must be at least 2, not {seeds}: one run has no interval.")
    return Scale(seeds or (QUICK_SEEDS if quick else experiment.seeds), quick, corpus=corpus)


def default_folder(experiment: Experiment, scale: Scale) -> Path:
    """Where an experiment is made if its user names no folder."""
    return Path("experiments") / (f"{experiment.name}-quick" if scale.quick else experiment.name)


def run_experiment(
    experiment: Experiment,
    scale: Scale,
    out: Path,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    interruption: Interruption | None = None,
) -> Result:
    """Make the runs of an experiment that are not in the folder yet, and write the result there: result.json, report.md
    and pictures, where matplotlib is there.

    jobs: processes side by side, each with one thread; 1: this one. ``progress(stage, share)`` is called after each
    run. Interrupted leaves every run that was made, and those trainings that were under way to be resumed; the same
    call continues. Raises RunError where the folder holds something else, and what a run raises.
    """
    arms = tuple(experiment.arms(scale))
    names = [file_name(arm.name) for arm in arms]
    assert len(set(names)) == len(names) > 0, f"names of arms must differ in files, too: {names}"
    fresh = [path for path in (out, *out.parents) if not exists(path)]
    store = Store.open(out, identity(experiment, arms, scale))
    lock = FolderLock(out)
    try:
        outcomes = _outcomes(_Performer(experiment, scale, store), arms, jobs, progress, interruption or Interruption())
        result = _write(_result(experiment, outcomes), out)
    except LmkitError:
        if fresh and not store.has_results:  # a mistake, such as a text that is too short, leaves nothing behind
            _remove(fresh)
        raise
    finally:
        lock.release()
    return result


def _remove(folders: Sequence[Path]) -> None:
    """Remove a folder that was made, and those around it that were made for it, the innermost first."""
    shutil.rmtree(folders[0], ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in folders[1:]:
            folder.rmdir()


@dataclass(frozen=True)
class _Performer:
    """Makes runs; goes to other processes as it is."""

    experiment: Experiment
    scale: Scale
    store: Store

    def __call__(self, task: Task, interruption: Interruption) -> None:
        folder = self.store.folder(task)
        trial = Trial(
            task.arm,
            task.choice,
            task.seed,
            self.scale,
            folder,
            self.store.shared,
            tuning=task.tuning,
            interruption=interruption,
        )
        values = self.experiment.measure(trial)
        self.store.write(task, values, _machine())


def _outcomes(
    performer: _Performer, arms: tuple[Arm, ...], jobs: int, progress: Progress | None, interruption: Interruption
) -> Outcomes:
    """All runs: those in the store, and the others, which are made now; first those that choices are made by."""
    experiment, scale, store = performer.experiment, performer.scale, performer.store
    report = partial(progress or say_nothing, experiment.command)
    tuning_plan = tuning_tasks(arms, scale)
    total = len(tuning_plan) + sum(scale.seeds if arm.seeded else 1 for arm in arms)
    done = 0

    def made(tasks: Sequence[Task]) -> list[Run]:
        nonlocal done
        missing = [task for task in tasks if store.read(task) is None]
        done += len(tasks) - len(missing)
        with closing(_performed(performer, missing, jobs, interruption)) as performed:
            for _ in performed:
                done += 1
                report(done / total)
        return [run for task in tasks if (run := store.read(task)) is not None]

    report(math.nan)
    tuning = made(tuning_plan)
    runs = made(counted_tasks(experiment, arms, scale, tuning))
    assert len(runs) + len(tuning) == total
    return Outcomes(scale, arms, tuple(runs), tuple(tuning))


def _performed(performer: _Performer, tasks: Sequence[Task], jobs: int, interruption: Interruption) -> Generator[Task]:
    if jobs > 1 and len(tasks) > 1:
        return side_by_side(performer, tasks, jobs)
    return in_this_process(performer, tasks, interruption)


def _result(experiment: Experiment, outcomes: Outcomes) -> Result:
    verdicts = list(experiment.judge(outcomes))
    assert {verdict.claim for verdict in verdicts} == set(experiment.claims)
    chosen = {arm.name: outcomes.choice(arm.name) for arm in outcomes.arms}
    checked = dict(experiment.equal)
    if outcomes.scale.quick:  # tiny networks come in few sizes, and of a few windows the short ones are many
        checked = {name: QUICK_DIFFERENCE for name in checked if name in EQUAL_TARGETS}
    notes = [*unequal(outcomes, checked, experiment.unequal), *ends_of_grids(outcomes.arms, chosen)]
    charts = dict(experiment.charts(outcomes))
    if charts and not can_render():
        notes.append(MISSING)
    machines = [json.loads(one) for one in dict.fromkeys(json.dumps(run.machine) for run in outcomes.runs)]
    return Result(experiment, outcomes, verdicts, list(experiment.tables(outcomes)), charts, notes, machines)


def _write(result: Result, out: Path) -> Result:
    """Write a result, numbers and tables before anything is drawn; a picture that fails is one more note of it."""
    _write_texts(result, [], out)
    if not (result.charts and can_render()):
        return result
    try:
        pictures = {f"{name}.svg": render(chart) for name, chart in result.charts.items()}
    except FailedError as error:
        result, pictures = replace(result, notes=[*result.notes, str(error)]), {}
    for name, content in pictures.items():
        write_atomically(out / name, content)
    _write_texts(result, list(pictures), out)
    return result


def _write_texts(result: Result, pictures: Sequence[str], out: Path) -> None:
    write_atomically(out / RESULT, json.dumps(result.as_dict(), indent=1, allow_nan=False) + "\n")
    write_atomically(out / "report.md", markdown(result, pictures))


def _machine() -> dict[str, Any]:
    return fingerprint(Placement(torch.device("cpu"), torch.float32, 1))
