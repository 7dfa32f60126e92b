"""A classifier's configuration: its sections, and which options of the others' sections it takes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from lmkit.config.config import Config
from lmkit.config.data import DataConfig
from lmkit.config.labels import LabelConfig
from lmkit.config.model import REGULARISERS
from lmkit.config.training import TrainingConfig
from lmkit.errors import ConfigError
from lmkit.fields import flag_of

__all__ = ["OF_CLASSIFIERS", "ClassifierConfig"]

# Options that a classifier takes, of the sections of which it does not take all.
OF_CLASSIFIERS = {
    "data": ("corpus", "tokenizer", "vocab_size", "min_count", "valid_fraction"),
    "model": (
        *("cell", "block", "num_layers", "hidden_size", "embedding_size"),
        *REGULARISERS,
        *("zoneout", "nonlinearity", "irnn_form", "recurrent_init", "recurrent_scale", "forget_bias", "timescales"),
        *("initial_state", "input_gate", "projection_size", "mogrifier_rounds", "conv_width", "heads", "context"),
        *("attention", "attention_kind"),
    ),
    "training": (
        *("window", "batch_size", "accumulate"),
        *("optimizer", "lr", "betas", "eps", "momentum", "muon_lr", "weight_decay"),
        *("schedule", "warmup", "lr_decay", "decay_after", "lr_decay_per_layer", "freeze", "unfreeze_every"),
        *("average", "average_decay", "average_start", "average_n", "max_grad_norm"),
        *("epochs", "max_steps", "max_seconds", "eval_every", "patience", "on_nonfinite", "skip_spikes"),
    ),
}


@dataclass(frozen=True)
class ClassifierConfig(Config):
    """All sections of a classifier's configuration. Of the others' options it takes those of ``OF_CLASSIFIERS``."""

    kind: ClassVar[str] = "classifier"
    command: ClassVar[str] = "lmkit classify train"
    unit: ClassVar[str] = "document"
    unit_shown: ClassVar[str] = "text"

    data: DataConfig = field(default_factory=lambda: DataConfig(tokenizer="word", min_count=2, test_fraction=0.0))
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(sampler="document", window=256))
    labels: LabelConfig = field(default_factory=LabelConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for section in dataclasses.fields(self):
            chosen, default = getattr(self, section.name), cast(Any, section.default_factory)()
            for item in dataclasses.fields(chosen):
                differs = getattr(chosen, item.name) != getattr(default, item.name)
                if differs and not self.takes(section.name, item.name):
                    raise ConfigError(f"{flag_of(item)} does not go with a classifier: leave it out.")

    @property
    def network(self) -> str:
        return f"{self.model.shape}, {self.labels.pooling} pooling, {len(self.labels.classes or ())} classes"

    @staticmethod
    def takes(section: str, name: str) -> bool:
        """Whether an option of a section is one of a classifier's."""
        return section not in OF_CLASSIFIERS or name in OF_CLASSIFIERS[section]
