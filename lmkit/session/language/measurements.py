"""Measurements of a language model: its loss on texts, and the state that it carries through them."""

from __future__ import annotations

from typing import Any

from lmkit.distributed.world import ALONE, World
from lmkit.evaluation.carried_state import read_carried_state
from lmkit.evaluation.measurement import Measurement, measure, rows_read
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.perplexity import Evaluation
from lmkit.evaluation.predictor import NetworkPredictor, Scorer
from lmkit.evaluation.shared import SharedNetwork
from lmkit.session.measurements import Measurements
from lmkit.session.setup import TrainingSetup, measured_language_model
from lmkit.text.corpus import Progress
from lmkit.text.sources.generated import known_entropy
from lmkit.text.token_file import TokenFile

__all__ = ["TextMeasurements"]

VALIDATION_ROWS = 64
VALIDATION_PASSES = 1
ONE_STREAM_SECONDS = 60


class TextMeasurements(Measurements):
    """Of a language model."""

    def __init__(self, setup: TrainingSetup, progress: Progress | None) -> None:
        super().__init__()
        self._setup = setup
        self._progress = progress or (lambda stage, share: None)

    @property
    def is_shared(self) -> bool:
        world = self._setup.placement.world
        return not world.alone and rows_read(self._setup.corpus.splits["valid"], self._validation) >= world.size

    def validate(self) -> Evaluation:
        if not self.is_shared:
            with self.interruptible():
                return self._measure("valid", self._validation, "validating").evaluation
        return self._measure("valid", self._validation, "validating", self._setup.placement.world).evaluation

    def close(self) -> Measurement | None:
        """Measure the model on the test split, or on validation where there is no test; None without both."""
        splits, config = self._setup.corpus.splits, self._setup.config
        split = next((name for name in ("test", "valid") if name in splits), None)
        if split is None:
            return None
        rows = 1 if self._one_stream_is_quick(splits[split]) else VALIDATION_ROWS
        with self.interruptible():
            result = self._measure(split, EvalOptions(state=self._state_policy, rows=rows), f"measuring {split}")
            notes = self.notes_on_carried_state(split)
            known = known_entropy(config.data.corpus, *self._setup.corpus.info["ranges"][split])
        return result._replace(known=known).with_notes(notes)

    def notes_on_carried_state(self, split: str) -> list[str]:
        """What is wrong with the state that is carried through a split, none where it is sound."""
        eos_id = self._setup.corpus.tokenizer.eos_id
        carried = read_carried_state(
            self._predictor(), self._setup.corpus.splits[split], eos_id, state=self._state_policy
        )
        return [] if carried is None else carried.notes()

    @property
    def _state_policy(self) -> str:
        return "document" if self._setup.config.training.state_policy == "document" else "carry"

    @property
    def _validation(self) -> EvalOptions:
        return EvalOptions(state=self._state_policy, rows=VALIDATION_ROWS, max_passes=VALIDATION_PASSES)

    def _measure(self, split: str, options: EvalOptions, stage: str, world: World = ALONE) -> Measurement:
        """Measure a split; in a world of several processes with all of them."""
        predictor: Scorer[Any] = self._predictor() if world.alone else SharedNetwork(self._predictor(), world)

        def report(share: float) -> None:
            if not world.alone:
                self.look_together(world)
            self._progress(stage, share)

        tokens, tokenizer = self._setup.corpus.splits[split], self._setup.corpus.tokenizer
        return measure(predictor, tokens, tokenizer, options, split=split, report=report)

    def _predictor(self) -> NetworkPredictor:
        return NetworkPredictor(measured_language_model(self._setup.train))

    def _one_stream_is_quick(self, tokens: TokenFile) -> bool:
        """Whether one unbroken stream takes under a minute, from a fixed estimate: a matrix-vector product a step,
        then the output layer.
        """
        recurrent = sum(parameter.numel() for parameter in self._setup.train.model.recurrent.parameters())
        output = self._setup.config.model.output_size * self._setup.corpus.tokenizer.vocab_size
        return len(tokens) * (50e-6 + recurrent / 6e9 + output / 50e9) < ONE_STREAM_SECONDS
