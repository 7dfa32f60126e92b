"""How a text is measured: the only place where a default of it, a help text and a bound are written.

The command line makes its options from these fields, and ``TrainedModel`` takes them as keywords. Values are checked
when options are made, so options that exist are valid ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypedDict

from lmkit.errors import ConfigError
from lmkit.fields import Section, option

__all__ = ["DEFAULTS", "STATES", "AdapterSettings", "EvalKeywords", "EvalOptions"]

STATES = ("carry", "reset", "document", "line")
LARGEST = 2**31


@dataclass(frozen=True)
class AdapterSettings(Section):
    """Which test-time adapters are used and how; 0 or an empty weight leaves one out."""

    dynamic: bool = option(False, "Dynamic evaluation: keep training on the text that was scored.")
    dynamic_span: int = option(64, "Tokens per update of dynamic evaluation.", minimum=1, below=LARGEST)
    dynamic_lr: float = option(1e-4, "Learning rate of dynamic evaluation.", minimum=0)
    dynamic_decay: float = option(
        0.02, "Decay of dynamic evaluation towards the trained weights.", minimum=0, maximum=1
    )
    cache: int = option(0, "Neural cache over this many tokens (0: none).", minimum=0, below=LARGEST)
    cache_weight: float = option(0.1, "Mixing weight of the cache.", minimum=0, below=1)
    cache_flatness: float = option(0.2, "Weight of similarity in the cache.", minimum=0)
    ngram: int = option(0, "Mix with a Kneser-Ney model of this order (0: none).", minimum=0, maximum=6)
    arpa: str | None = option(None, "Mix with the n-gram model of an ARPA file.")
    ngram_weight: float = option(0.1, "Mixing weight of the n-gram model.", minimum=0, maximum=1)
    mixed_weights: tuple[float, ...] = option((), "Mixing weights of the other models (default: equal shares).")
    tuned: bool = option(False, "Choose rates and weights on the validation split.", flags=("--tune",))

    def check(self) -> None:
        if self.ngram and self.arpa is not None:
            raise ConfigError("Give either --ngram or --arpa, not both.")

    @property
    def used(self) -> bool:
        """Whether any adapter is asked for; other models to mix with are not counted."""
        return self.dynamic or bool(self.cache) or bool(self.ngram) or self.arpa is not None


NO_ADAPTERS = AdapterSettings()


@dataclass(frozen=True)
class EvalOptions(Section):
    """How a text is measured, and with which test-time adapters.

    max_passes: how often the rows of a carried stream are read on into each other, 0 for never, None for until they
    give the result of the one stream.
    """

    state: str | None = option(
        None,
        "State policy (default: as the model was trained). line reads each line by itself, as score --state line; "
        "reset is for studies.",
        choices=STATES,
    )
    rows: int = option(1, "Parallel streams; 1 is the unbroken stream.", minimum=1, below=LARGEST)
    warmup: int = option(
        256, "Warm-up tokens that each of several rows reads before its own.", minimum=0, below=LARGEST
    )
    window: int = option(
        256, "Tokens computed at a time; changes no number unless --state reset.", minimum=1, below=LARGEST
    )
    precision: str = option("float32", "Arithmetic.", choices=("float32", "bfloat16"))
    max_passes: int | None = option(None, "Passes that join rows (default: until they are one stream).", minimum=0)
    adapters: AdapterSettings = option(NO_ADAPTERS, "Test-time adapters.")  # noqa: RUF009

    @property
    def policy(self) -> str:
        """The state policy; one stream where none was chosen."""
        return self.state or "carry"

    def trained(self, state: str) -> EvalOptions:
        """The same, with the policy that a model was trained for where none was chosen."""
        return self if self.state is not None else dataclasses.replace(self, state=state)


DEFAULTS = EvalOptions()


class EvalKeywords(TypedDict, total=False):
    """Fields of ``EvalOptions`` that ``TrainedModel`` takes as keywords; a test holds the two equal."""

    state: str | None
    rows: int
    warmup: int
    window: int
    precision: str
