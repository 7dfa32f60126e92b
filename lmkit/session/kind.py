"""A kind of training: all that a session does in its own way for language models, and for classifiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lmkit.config import Config
from lmkit.samplers import Window
from lmkit.session.placement import Placement
from lmkit.text.corpus import Progress
from lmkit.text.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lmkit.session.guessing import GuessingAlarm
    from lmkit.session.measurements import Measurements
    from lmkit.session.setup import TrainingSetup
    from lmkit.session.tuning.origin import Origin

__all__ = ["Kind"]


class Kind(ABC):
    """name: as config.json has it. command: that trains and resumes. unit: what is predicted, the targets of the loss,
    as the logs name it.
    """

    name: str
    command: str
    unit: str

    @abstractmethod
    def prepare(
        self,
        config: Config,
        placement: Placement,
        *,
        origin: Origin | None = None,
        tokenizer: Tokenizer | None = None,
        progress: Progress | None = None,
    ) -> TrainingSetup:
        """Read the data and make the network: new from the seed, or with the weights of another run. A tokenizer that
        is not given comes from the configuration or the other run. Raises LmkitError for every mistake of the user.
        """

    @abstractmethod
    def notes(self, setup: TrainingSetup) -> Iterator[str]:
        """What its user should know before the training begins, one line each."""

    @abstractmethod
    def measurements(self, setup: TrainingSetup, progress: Progress | None) -> Measurements:
        """What measures the network."""

    @abstractmethod
    def alarm(self, setup: TrainingSetup, measurements: Measurements, warn: Callable[[str], None]) -> GuessingAlarm:
        """What warns of validations that are worse than guessing."""

    @abstractmethod
    def texts(self, setup: TrainingSetup, window: Window) -> list[str]:
        """The text of each row of a window: what a report shows of a step that was skipped."""
