"""The folder of an experiment, where each run leaves its result as soon as it is made.

OUT/  experiment.json   what it is: only results of the same go together
      results/          a file for each run that was made
      runs/             the folders of trainings, those that are interrupted among them
      shared/           texts
      result.json  report.md  *.svg     made from the results, each time
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.errors import FailedError, RunError
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.engine.task import Task
from lmkit.files import exists, is_folder, write_atomically
from lmkit.run.json_files import read_object
from lmkit.run.log import finite
from lmkit.text.cache.store import Cache
from lmkit.text.cache.survey import survey_source
from lmkit.text.sources.opening import local_path, open_source

__all__ = ["IDENTITY", "Store", "identity"]

IDENTITY = "experiment.json"
TEXTS = "texts"


def identity(experiment: Experiment, arms: tuple[Arm, ...], scale: Scale) -> dict[str, Any]:
    """What must be equal for results to go together. Raises DataError for a text that cannot be read."""
    own = {"experiment": experiment.name, "scale": scale.as_dict(), "arms": [arm.as_dict() for arm in arms]}
    return dict(json.loads(json.dumps({**own, TEXTS: _texts(arms, scale)})))


def _texts(arms: tuple[Arm, ...], scale: Scale) -> dict[str, str]:
    """What the texts hold that are files or folders: their names may come to stand for others."""
    options = [one for arm in arms for one in (arm.options, *arm.choices)]
    names = {name for name in (scale.corpus, *(one.get("corpus") for one in options)) if isinstance(name, str)}
    return {name: _content(name) for name in sorted(names) if local_path(name) is not None}


def _content(name: str) -> str:
    with open_source(name) as source:
        return survey_source(source, Cache(), lambda share: None).key


class Store:
    """The folder of an experiment. A file is there whole or not at all, so the end of a process loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, wanted: Mapping[str, Any]) -> Store:
        """The folder, made if it is not there. Raises RunError where it holds something else."""
        file = path / IDENTITY
        if exists(file):
            _check_same(path, read_object(file), wanted)
            return cls(path)
        if exists(path) and (not is_folder(path) or any(path.iterdir())):
            raise RunError(f"{path} exists and is no experiment of lmkit's: choose another --out.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be created: {error.strerror or error}. Choose another --out.") from error
        write_atomically(file, _json(wanted))
        return cls(path)

    def folder(self, task: Task) -> Path:
        """The run's own folder."""
        return self.path / "runs" / task.name

    @property
    def shared(self) -> Path:
        """The folder that all runs share."""
        return self.path / "shared"

    @property
    def has_results(self) -> bool:
        """Whether a run was made."""
        return is_folder(self.path / "results")

    def read(self, task: Task) -> Run | None:
        """A run that was made; None for one that is still to be made, or whose file is damaged."""
        try:
            found = read_object(self._file(task))
            values, machine = found["values"], found["machine"]
        except (RunError, KeyError):
            return None
        return Run(task.arm.name, task.choice, task.seed, task.tuning, values, machine)

    def write(self, task: Task, values: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        """Keep a run's values, and throw away what only served to make them."""
        run = Run(task.arm.name, task.choice, task.seed, task.tuning, finite(dict(values)), machine)
        self._file(task).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(task), _json({**run.as_dict(), "machine": dict(machine)}))
        if task.tuning:
            shutil.rmtree(self.folder(task), ignore_errors=True)
        else:
            for checkpoints in self.folder(task).glob("**/checkpoints"):
                shutil.rmtree(checkpoints, ignore_errors=True)

    def _file(self, task: Task) -> Path:
        return self.path / "results" / f"{task.name}.json"


def _check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    scale, own = found.get("scale"), wanted["scale"]
    if found.get("experiment") != wanted["experiment"]:
        what = f"the experiment {found.get('experiment')}"
    elif not isinstance(scale, Mapping) or scale.get("quick") != own["quick"]:
        what = "the quick form of this experiment" if not own["quick"] else "the full form of this experiment"
    elif scale.get("corpus") != own["corpus"]:
        what = f"this experiment on another text ({scale.get('corpus') or 'its own'})"
    elif changed := _changed(found.get(TEXTS), wanted[TEXTS]):
        what = f"this experiment on what {changed[0]} held before it was changed"
    elif any(found.get(name) != value for name, value in wanted.items() if name != TEXTS):
        what = "this experiment with other arms, as another version of lmkit has them"
    else:
        return
    raise RunError(f"{path} holds {what}: choose another --out.")


def _changed(found: Any, wanted: Mapping[str, str]) -> list[str]:
    """Texts that hold something else now; folders of early versions know of none."""
    if not isinstance(found, Mapping):
        return []
    return [name for name, content in wanted.items() if found.get(name, content) != content]


def _json(values: Mapping[str, Any]) -> str:
    try:
        return json.dumps(values, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise FailedError(f"A result cannot be written: {error}.") from error
