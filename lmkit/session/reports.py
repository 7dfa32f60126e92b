"""Reports of the steps that were left out, each with the text that it read."""

from __future__ import annotations

from collections.abc import Callable

from lmkit.run.directory import RunDirectory
from lmkit.session.kind import Kind
from lmkit.session.setup import TrainingSetup
from lmkit.training.guard import Skipped

__all__ = ["Reports"]


class Reports:
    """The folder ``reports`` of a run."""

    def __init__(self, kind: Kind, setup: TrainingSetup, run: RunDirectory, warn: Callable[[str], None]) -> None:
        self._kind, self._setup, self._run, self._warn = kind, setup, run, warn

    def write(self, skipped: Skipped) -> None:
        """Write a file on a step that was left out; ``warn`` receives where it is, or why there is none."""
        texts = self._kind.texts(self._setup, next(self._setup.sampler.epoch(skipped.epoch, skipped.index)))
        what = {"nonfinite": "not finite", "spike": "a spike"}[skipped.reason]
        try:
            path = self._run.write_report(f"step-{skipped.step:08d}.json", {**vars(skipped), "text": texts})
            self._warn(f"Step {skipped.step:,} was {what}: see {path}.")
        except OSError as error:
            self._warn(f"Step {skipped.step:,} was {what}. No report: {error.strerror or error}.")
