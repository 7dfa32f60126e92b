"""Whether a validation is worse than guessing, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Callable

from lmkit.evaluation.caveats import guessing_caveat, not_finite, worse_than_guessing
from lmkit.session.measurements import Measurements
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord

__all__ = ["GuessingAlarm"]

MARGIN = 0.1  # nats per token; a model that has not moved yet may be worse than guessing by less
ADVICE = "Train at a lower --lr, or longer."


class GuessingAlarm:
    """Warns of a validation that is worse than equal probabilities for all tokens; of the next one only after a better
    one came in between.

    A training that has not moved yet is about as good as guessing: it is not warned of. One has moved where its steps
    since the last validation were better than guessing, or its validation is worse by more than MARGIN.
    """

    def __init__(self, vocab_size: int, measurements: Measurements, warn: Callable[[str], None]) -> None:
        self._vocab_size, self._measurements, self._warn = vocab_size, measurements, warn
        self._nll, self._tokens, self._warned = 0.0, 0, False

    def after_step(self, record: StepRecord) -> None:
        """Take note of the loss of steps."""
        self._nll, self._tokens = self._nll + record.nll, self._tokens + record.tokens

    def after_validation(self, record: EvaluationRecord) -> None:
        """Warn where the validation asks for it, with what the carried state has to do with it."""
        evaluation, guess = record.evaluation, math.log(self._vocab_size)
        learns = self._nll < guess * self._tokens
        self._nll, self._tokens = 0.0, 0
        worse = worse_than_guessing(evaluation, self._vocab_size)
        moved = learns or not evaluation.nats_per_token <= guess + MARGIN
        if worse and moved and not self._warned:
            found = not_finite(evaluation) or guessing_caveat(evaluation, self._vocab_size)
            reasons = self._measurements.notes_on_carried_state("valid") or [ADVICE]
            self._warn(" ".join([f"Validation at step {record.step:,}: {found}", *reasons]))
        self._warned = worse and (moved or self._warned)
