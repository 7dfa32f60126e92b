"""Language models as a kind of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lmkit.config import Config, DataConfig
from lmkit.evaluation.caveats import guessing_caveat
from lmkit.evaluation.perplexity import Evaluation
from lmkit.samplers import IGNORE, Window
from lmkit.session.guessing import ADVICE, GuessingAlarm
from lmkit.session.kind import Kind
from lmkit.session.language.measurements import TextMeasurements
from lmkit.session.measurements import Measurements
from lmkit.session.placement import Placement
from lmkit.session.setup import TrainingSetup, prepare
from lmkit.session.tuning.fine_tuning import notes_on_origin, prepare_from
from lmkit.session.tuning.origin import Origin
from lmkit.text.corpus import Progress
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["LANGUAGE_MODELS", "text_alarm"]


class _LanguageModels(Kind):
    name, command, unit = Config.kind, Config.command, Config.unit

    def prepare(
        self,
        config: Config,
        placement: Placement,
        *,
        origin: Origin | None = None,
        tokenizer: Tokenizer | None = None,
        progress: Progress | None = None,
    ) -> TrainingSetup:
        if origin is None:
            return prepare(config, placement, tokenizer=tokenizer, progress=progress)
        return prepare_from(origin, config, placement, progress=progress)

    def notes(self, setup: TrainingSetup) -> Iterator[str]:
        if setup.init_from is not None:
            yield from notes_on_origin(setup.init_from, setup.corpus.tokenizer)
        else:
            yield from _notes_on_pieces(setup.config.data, setup.corpus.tokenizer)
        yield from setup.corpus.notes

    def measurements(self, setup: TrainingSetup, progress: Progress | None) -> TextMeasurements:
        return TextMeasurements(setup, progress)

    def alarm(self, setup: TrainingSetup, measurements: Measurements, warn: Callable[[str], None]) -> GuessingAlarm:
        assert isinstance(measurements, TextMeasurements), "made by this kind"
        notes = measurements.notes_on_carried_state
        return text_alarm(setup.corpus.tokenizer.vocab_size, lambda: notes("valid"), warn)

    def texts(self, setup: TrainingSetup, window: Window) -> list[str]:
        return [setup.corpus.tokenizer.decode(row[row != IGNORE].numpy()) for row in window.targets]


def _notes_on_pieces(data: DataConfig, tokenizer: Tokenizer) -> Iterator[str]:
    """What became of --vocab-size, where a text is too short for so many pieces."""
    if data.tokenizer == "bpe" and data.vocab_size is not None and tokenizer.vocab_size < data.vocab_size:
        often = f" that come {data.min_count} times" if data.min_count > 1 else ""
        yield (
            f"The vocabulary has {tokenizer.vocab_size:,} pieces, not the {data.vocab_size:,} of --vocab-size: the "
            f"training text has no more pairs of pieces{often} to join."
        )


def text_alarm(vocab_size: int, find_reasons: Callable[[], list[str]], warn: Callable[[str], None]) -> GuessingAlarm:
    """The alarm of a language model: with what the carried state has to do with a bad validation."""

    def explain(evaluation: Evaluation) -> str:
        found = evaluation.not_finite() or guessing_caveat(evaluation, vocab_size)
        return " ".join([found, *(find_reasons() or [ADVICE])])

    return GuessingAlarm(math.log(vocab_size), explain, warn)


LANGUAGE_MODELS = _LanguageModels()
