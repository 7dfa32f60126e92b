"""The way back to older weights after a step that was not finite (``--on-nonfinite rollback``)."""

from __future__ import annotations

from collections.abc import Callable

from lmkit.errors import NonFiniteError
from lmkit.run.directory import RunDirectory
from lmkit.session.saving.checkpoint_state import CheckpointState, training_values
from lmkit.session.setup import TrainingSetup
from lmkit.training.guard import Skipped
from lmkit.training.step import StepRecord

__all__ = ["Rollback"]

MAX_ROLLBACKS = 10


class Rollback:
    """Goes back to checkpoints at the steps of --checkpoint-every only: never to one that the clock made, so it is as
    reproducible as the rest. is_on: whether the policy of the run is to roll back.
    """

    def __init__(self, setup: TrainingSetup, run: RunDirectory, warn: Callable[[str], None]) -> None:
        self._setup, self._run, self._warn = setup, run, warn
        self.is_on = setup.config.training.on_nonfinite == "rollback"

    def is_fixed(self, step: int) -> bool:
        """Whether a step is one of --checkpoint-every."""
        every = self._setup.config.checkpoint.checkpoint_every
        return every is not None and step % every == 0

    def steps(self, newest: int) -> list[int]:
        """The checkpoints up to a step that a rollback may go back to; none under another policy."""
        if not self.is_on:
            return []
        return [step for step in self._run.checkpoints.steps() if self.is_fixed(step) and step <= newest]

    def after(self, record: StepRecord) -> None:
        """Go back where one of the steps was not finite. Raises NonFiniteError where that cannot help."""
        if not self.is_on:
            return
        nonfinite = [skipped for skipped in record.skipped if skipped.reason == "nonfinite"]
        if nonfinite:
            self._go_back(nonfinite[-1])
        elif self.is_fixed(record.step):
            self._setup.train.guard.rollbacks = 0

    def _go_back(self, skipped: Skipped) -> None:
        """Weights, their mean and optimiser of the last fixed checkpoint; the position in the data stays, so the text
        that led here is left behind, and so do the validations: a mean that they have begun since then begins at the
        next bad one.
        """
        train = self._setup.train
        checkpoint = self._run.checkpoints.newest(self._warn, self.steps(train.step).__contains__)
        if checkpoint is None or train.guard.rollbacks >= MAX_ROLLBACKS:
            why = "there is no checkpoint to go back to"
            if checkpoint is not None:
                why = f"{MAX_ROLLBACKS} rollbacks since the last step of --checkpoint-every have not helped"
            raise NonFiniteError(f"Step {skipped.step}: the loss or the gradient is not finite, and {why}.")
        values = training_values(checkpoint, CheckpointState.read(checkpoint), self._run, self._setup)
        self._setup.orders.go_back(values)
        train.go_back(values)
        self._warn(f"Step {skipped.step:,} was not finite: back to the weights of step {checkpoint.step:,}.")
