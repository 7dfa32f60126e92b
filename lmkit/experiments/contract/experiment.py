"""An experiment: a question, the rule by which it is decided, arms, a measurement, a judgement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict
from lmkit.plots.charts import Chart

__all__ = ["EQUAL_TARGETS", "Experiment"]

# What must be equal in all arms, between runs of a seed, and how far it may differ: an epoch's last window is short.
EQUAL_TARGETS: Mapping[str, float] = {"targets": 0.02, "targets_per_update": 0.02}


class Experiment(ABC):
    """An experiment. An instance is pickled to other processes, so its class stands in a module and it holds only what
    it was made with.

    name: of the command, as in ``lmkit experiment attention``. claims: their numbers (``claims.py``). question: one
    sentence. rule: how the verdict is found and the smallest difference that matters, written before any run. minutes:
    what is planned for it in full, two processes at a time. seeds: of the runs that count; 20 for a share as outcome.
    validation: the value that a choice is made by, the lowest. equal: the values that must be equal in all arms, with
    the relative difference that is allowed; empty where that is not the question, and the rule says so. unequal: by
    the name of such a value, arms that differ in it on purpose. takes_text: whether its user may choose the text.
    """

    name: str
    title: str
    claims: tuple[int, ...]
    question: str
    rule: str
    minutes: float
    seeds: int = 5
    validation: str = "valid"
    equal: ClassVar[Mapping[str, float]] = EQUAL_TARGETS
    unequal: ClassVar[Mapping[str, Collection[str]]] = {}
    takes_text: bool = False

    @property
    def command(self) -> str:
        """What makes it, after ``lmkit``."""
        return f"experiment {self.name}"

    @abstractmethod
    def arms(self, scale: Scale) -> Sequence[Arm]:
        """What is compared. Nothing is read or computed here."""

    @abstractmethod
    def measure(self, trial: Trial) -> Mapping[str, Any]:
        """One run: numbers, texts, and lists of them, by name; None for a number that is not there. Names that end in
        ``seconds`` are clocks: they differ from run to run, and no verdict may rest on them but one about cost.

        It is a function of the trial alone, and may be called again after an interruption; ``trial.folder`` keeps what
        it has left there.
        """

    @abstractmethod
    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        """The verdict on each of the claims, by the rule and nothing else."""

    @abstractmethod
    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        """What was measured, as tables."""

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        """Pictures by the name of their file."""
        return {}
