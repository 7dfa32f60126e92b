"""Options that were chosen and do nothing beside the others: what is said of them before a training."""

from __future__ import annotations

from collections.abc import Iterator

from lmkit.config import TrainingConfig
from lmkit.fields import alternatives
from lmkit.session.setup import TrainingSetup

__all__ = ["notes_on_unused"]

NO_VALIDATION = "there is no text to validate on"


def notes_on_unused(setup: TrainingSetup) -> Iterator[str]:
    """One line for each option that has no effect: of a schedule that was not chosen, on layers that are not there, on
    validations that never come.
    """
    training, cells = setup.config.training, setup.train.model.cells
    if training.warmup != TrainingConfig.warmup:
        yield from _of_schedules("--warmup", training.warmup, training.schedule_name, "cosine")
    if training.lr_decay != TrainingConfig.lr_decay:
        yield from _of_schedules("--lr-decay", training.lr_decay, training.schedule_name, "plateau", "epochs")
    rate = setup.config.model.layer_dropout
    if rate and len(cells) == 1 and not cells[0].residual:
        yield f"--layer-dropout {rate:g} does nothing: it falls between layers, and there is one."
    if training.truncation == "none" and training.window != TrainingConfig.window:
        yield f"--truncation none reads whole rows or documents: --window {training.window} shortens no gradient."
    if setup.validates:
        return
    if training.eval_every is not None:
        yield f"--eval-every {training.eval_every} does nothing: {NO_VALIDATION}."
    if training.schedule_name == "plateau":
        yield f"--schedule plateau keeps the learning rate as it is: {NO_VALIDATION}."


def _of_schedules(flag: str, value: float, schedule: str, *needed: str) -> Iterator[str]:
    if schedule not in needed:
        yield f"{flag} {value:g} does nothing with --schedule {schedule}: it is for {alternatives(needed)}."
