"""All experiments by their names."""

from __future__ import annotations

import difflib

from lmkit.errors import ConfigError
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.studies.cells.cells import Cells
from lmkit.experiments.studies.cells.data_size import DataSize
from lmkit.experiments.studies.cells.dynamics import Dynamics
from lmkit.experiments.studies.cells.gates import GatesOfText
from lmkit.experiments.studies.gradients.clipping import Clipping
from lmkit.experiments.studies.gradients.cures import Cures
from lmkit.experiments.studies.gradients.depth import Depth
from lmkit.experiments.studies.gradients.eigenvalues import Eigenvalues
from lmkit.experiments.studies.gradients.one_unit import OneUnit
from lmkit.experiments.studies.memory.addition import Addition
from lmkit.experiments.studies.memory.alphabet import AlphabetDirection
from lmkit.experiments.studies.memory.attention import Attention
from lmkit.experiments.studies.memory.distance import Distance
from lmkit.experiments.studies.memory.fading import Fading
from lmkit.experiments.studies.memory.forgetting import ForgettingCurve
from lmkit.experiments.studies.memory.loop import Loop
from lmkit.experiments.studies.memory.recall import Memory
from lmkit.experiments.studies.memory.squashing import Squashing
from lmkit.experiments.studies.memory.word_classes import WordClasses
from lmkit.experiments.studies.text.index import Index
from lmkit.experiments.studies.text.own_output import OwnOutput
from lmkit.experiments.studies.text.perplexity import Perplexity
from lmkit.experiments.studies.text.tokens import Tokens
from lmkit.experiments.studies.truncation.samplers import Samplers
from lmkit.experiments.studies.truncation.truncation import Truncation
from lmkit.experiments.studies.truncation.windows import Windows

__all__ = ["EXPERIMENTS", "experiment_named"]

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        Samplers(),
        Truncation(),
        Eigenvalues(),
        Cures(),
        Depth(),
        Clipping(),
        Memory(),
        Perplexity(),
        Attention(),
        Cells(),
        DataSize(),
        Tokens(),
        Dynamics(),
        GatesOfText(),
        AlphabetDirection(),
        Fading(),
        Distance(),
        Squashing(),
        Loop(),
        WordClasses(),
        OneUnit(),
        ForgettingCurve(),
        OwnOutput(),
        Addition(),
        Windows(),
        Index(),
    )
}


def experiment_named(name: str) -> Experiment:
    """The experiment of a name. Raises ConfigError with the nearest one."""
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(EXPERIMENTS))}."
    raise ConfigError(f"There is no experiment {name}: {hint}")
