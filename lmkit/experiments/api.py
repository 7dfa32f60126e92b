"""Experiments in Python: ``lmkit.experiment`` makes one, ``lmkit.load_experiment`` reads what one has found."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.distributed.launch import Launch
from lmkit.errors import RunError
from lmkit.experiments.catalogue import EXPERIMENTS, experiment_named
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.interruption import Interrupted, Interruption
from lmkit.experiments.contract.outcomes import Outcomes, Run
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.verdict import Verdict, Word
from lmkit.experiments.engine.engine import RESULT, default_folder, run_experiment, scale_of
from lmkit.experiments.engine.result import Result
from lmkit.files import is_file
from lmkit.run.json_files import read_object
from lmkit.session.setup import absolute_corpus
from lmkit.text.cut_text import Progress

__all__ = ["experiment", "load_experiment"]

WRITTEN = {"experiment", "quick", "seeds", "arms", "runs", "tuning", "verdicts", "notes", "machines"}


def experiment(
    name: str,
    *,
    quick: bool = False,
    seeds: int | None = None,
    corpus: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Result:
    """Measure what the teaching of recurrent networks claims, as ``lmkit experiment NAME`` does; its verdicts, tables
    and pictures show themselves in a notebook.

    quick: some seconds, with tiny networks: the verdicts are no findings. seeds: of each arm (default: the
    experiment's own). corpus: a text of your own, where the experiment takes one. out: the folder (default:
    ``experiments/NAME``, ``experiments/NAME-quick``), which keeps each run as soon as it is made; the same call goes on
    with it, also after KeyboardInterrupt. jobs: processes side by side, each with one thread; 1: this one.
    ``progress(stage, share)`` is called after each run. Raises ConfigError for what the experiment does not take,
    DataError for a text that cannot be read, RunError where the folder holds something else.
    """
    Launch.read().check_alone("lmkit.experiment")
    chosen = experiment_named(name)
    text = None if corpus is None else absolute_corpus(os.fspath(corpus))
    scale = scale_of(chosen, quick=quick, seeds=seeds, corpus=text)
    folder = default_folder(chosen, scale) if out is None else Path(out)
    interruption = Interruption()
    try:
        with interruption.listening(signal.SIGINT):
            return run_experiment(chosen, scale, folder, jobs=jobs, progress=progress, interruption=interruption)
    except Interrupted:
        raise KeyboardInterrupt from None


def load_experiment(folder: str | os.PathLike[str]) -> Result:
    """What an experiment has found, from the result.json in its folder, such as ``docs/lessons/results/alphabet``.
    Nothing is trained: verdicts are those of the file, tables and charts are made from its runs.

    Raises RunError where there is none, and for one that another version of lmkit has made with other arms.
    """
    file = Path(folder) / RESULT
    if not is_file(file):
        raise RunError(
            f"There is no finished experiment in {folder}: `lmkit experiment NAME --out {folder}` makes one."
        )
    found = read_object(file)
    if missing := sorted(WRITTEN - found.keys()):
        raise RunError(f"{file} is damaged or of an early version: it lacks {missing[0]}.")
    if found["experiment"] not in EXPERIMENTS:
        raise RunError(f"{file} is of {found['experiment']}, no experiment of `lmkit experiment --list`.")
    chosen = EXPERIMENTS[found["experiment"]]
    scale, arms = Scale(found["seeds"], found["quick"]), tuple(map(_arm, found["arms"]))
    if {arm.name for arm in arms} != {arm.name for arm in chosen.arms(scale)}:
        raise RunError(f"{file} has other arms than {chosen.name} has in this version: read the report.md beside it.")
    outcomes = Outcomes(scale, arms, tuple(map(_run, found["runs"])), tuple(map(_run, found["tuning"])))
    verdicts = [Verdict(one["claim"], Word(one["verdict"]), one["because"]) for one in found["verdicts"]]
    tables, charts = list(chosen.tables(outcomes)), dict(chosen.charts(outcomes))
    return Result(chosen, outcomes, verdicts, tables, charts, found["notes"], found["machines"])


def _arm(values: Mapping[str, Any]) -> Arm:
    return Arm(values["name"], values["options"], tuple(values["choices"]), values["seeded"], values["budget"])


def _run(values: Mapping[str, Any]) -> Run:
    return Run(values["arm"], values["choice"], values["seed"], values["tuning"], values["values"])
