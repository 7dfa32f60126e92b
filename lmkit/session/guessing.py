"""Whether a validation is worse than guessing, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord

__all__ = ["ADVICE", "GuessingAlarm"]

MARGIN = 0.1  # nats per target; a model that has not moved yet may be worse than guessing by less
ADVICE = "Train at a lower --lr, or longer."


class GuessingAlarm:
    """Warns of a validation that is worse than guessing; of the next one only after a better one came in between.

    guess: the nats per target of who gives all outcomes the same probability. explain: what to say of such an
    evaluation. A training that has not moved yet is about as good as guessing: it is not warned of. One has moved where
    its steps since the last validation were better than guessing, or its validation is worse by more than MARGIN.
    """

    def __init__(self, guess: float, explain: Callable[[Any], str], warn: Callable[[str], None]) -> None:
        self._guess, self._explain, self._warn = guess, explain, warn
        self._nll, self._targets, self._warned = 0.0, 0, False

    def after_step(self, record: StepRecord) -> None:
        """Take note of the loss of steps."""
        self._nll, self._targets = self._nll + record.nll, self._targets + record.tokens

    def after_validation(self, record: EvaluationRecord) -> None:
        """Warn where the validation asks for it."""
        loss, learns = record.evaluation.nats_per_target, self._nll < self._guess * self._targets
        self._nll, self._targets = 0.0, 0
        worse = not loss <= self._guess
        moved = learns or not loss <= self._guess + MARGIN
        if worse and moved and not self._warned:
            self._warn(f"Validation at step {record.step:,}: {self._explain(record.evaluation)}")
        self._warned = worse and (moved or self._warned)
