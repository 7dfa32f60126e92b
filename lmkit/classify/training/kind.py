"""Classifiers as a kind of training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

from lmkit.classify.training.evaluation import ClassifierEvaluation
from lmkit.classify.training.measurements import LabelMeasurements
from lmkit.classify.training.setup import LabelledSetup, assemble, read_splits, tokenizer_for, with_paths
from lmkit.config import ClassifierConfig, Config
from lmkit.samplers import IGNORE, Window
from lmkit.session.guessing import ADVICE, GuessingAlarm
from lmkit.session.kind import Kind
from lmkit.session.measurements import Measurements
from lmkit.session.placement import Placement
from lmkit.session.setup import TrainingSetup
from lmkit.session.tuning.fine_tuning import begins_from, notes_on_unknown, record_of, unknown_counts
from lmkit.session.tuning.origin import Origin
from lmkit.text.corpus import Progress
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["CLASSIFIERS"]

BY_CHANCE = 0.1  # nats per text that a validation of few texts may be worse than guessing


class _Classifiers(Kind):
    name, command, unit = ClassifierConfig.kind, ClassifierConfig.command, ClassifierConfig.unit

    def prepare(
        self,
        config: Config,
        placement: Placement,
        *,
        origin: Origin | None = None,
        tokenizer: Tokenizer | None = None,
        progress: Progress | None = None,
    ) -> LabelledSetup:
        assert isinstance(config, ClassifierConfig), "the configuration of a classifier"
        config = with_paths(config)
        splits = read_splits(config)
        config = dataclasses.replace(config, labels=dataclasses.replace(config.labels, classes=splits.train.classes))
        if origin is not None:
            tokenizer = origin.stored.tokenizer
        tokenizer = tokenizer or tokenizer_for(config.data, splits.train.texts)
        setup = assemble(config, placement, splits, tokenizer, None if origin is None else origin.weights)
        if origin is None:
            return setup
        counts = unknown_counts(setup.corpus.splits, setup.corpus.splits)
        return dataclasses.replace(setup, init_from=record_of(origin, 0, counts))

    def notes(self, setup: TrainingSetup) -> Iterator[str]:
        if setup.init_from is not None:
            yield begins_from(setup.init_from)
            if setup.init_from["unknown"] is not None:
                yield from notes_on_unknown(setup.init_from)

    def measurements(self, setup: TrainingSetup, progress: Progress | None) -> LabelMeasurements:
        assert isinstance(setup, LabelledSetup), "made by this kind"
        return LabelMeasurements(setup, progress)

    def alarm(self, setup: TrainingSetup, measurements: Measurements, warn: Callable[[str], None]) -> GuessingAlarm:
        assert isinstance(setup, LabelledSetup), "made by this kind"
        number = len(setup.splits.train.classes)

        def explain(evaluation: ClassifierEvaluation) -> str:
            return (
                f"{evaluation.nats_per_document:.4g} nats per text are worse than guessing: to give each of the "
                f"{number} classes the same probability costs {math.log(number):.4g}. {ADVICE}"
            )

        return GuessingAlarm(math.log(number) + BY_CHANCE, explain, warn)

    def texts(self, setup: TrainingSetup, window: Window) -> list[str]:
        ends = (window.targets != IGNORE).int().argmax(dim=1).tolist()
        decode = setup.corpus.tokenizer.decode
        return [decode(row[1 : end + 1].numpy()) for row, end in zip(window.inputs, ends, strict=True)]


CLASSIFIERS = _Classifiers()
