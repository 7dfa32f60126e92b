"""The configuration of a run: the only place where a default, a help text and a bound are written.

The command line makes its options from these fields, presets and ``--config`` files are read into them, and a run
folder's ``config.json`` is written from them. Field names are unique over the whole tree, so an override needs no
section.

One file a section; tables of what goes with what stand in files of their own below them.
"""

from __future__ import annotations

from lmkit.config.cells import CELLS, WITH_MATRICES, WITH_REAL_STATES
from lmkit.config.checkpoint import CheckpointConfig
from lmkit.config.classifier import ClassifierConfig
from lmkit.config.config import CONFIG_FORMAT, RESUMABLE, Config, flatten
from lmkit.config.data import DOCUMENTS, DataConfig
from lmkit.config.fine_tuning import FineTuning
from lmkit.config.labels import LabelConfig
from lmkit.config.model import REGULARISERS, ModelConfig
from lmkit.config.optimization import AVERAGES, OPTIMIZERS
from lmkit.config.runtime import PLACEMENT, RuntimeConfig
from lmkit.config.training import TrainingConfig
from lmkit.config.truncation import JITTER_REACH, OF_WINDOWS
from lmkit.fields import NO_FLAG

__all__ = [
    "AVERAGES",
    "CELLS",
    "CONFIG_FORMAT",
    "DOCUMENTS",
    "JITTER_REACH",
    "KINDS",
    "NO_FLAG",
    "OF_WINDOWS",
    "OPTIMIZERS",
    "PLACEMENT",
    "REGULARISERS",
    "RESUMABLE",
    "WITH_MATRICES",
    "WITH_REAL_STATES",
    "CheckpointConfig",
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "FineTuning",
    "LabelConfig",
    "ModelConfig",
    "RuntimeConfig",
    "TrainingConfig",
    "flatten",
]

KINDS: dict[str, type[Config]] = {kind.kind: kind for kind in (Config, ClassifierConfig)}
