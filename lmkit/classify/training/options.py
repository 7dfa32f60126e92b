"""The configuration of a classifier: what was chosen, the network of its encoder, and what --tune stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lmkit.config import ClassifierConfig, DataConfig, ModelConfig, TrainingConfig
from lmkit.errors import ConfigError
from lmkit.session.tuning.origin import Origin

__all__ = ["configure"]

# Howard & Ruder (2018, arXiv 1801.06146, sections 3.2 and 3.3): each layer at the rate of the one above divided by 2.6.
GRADUAL = {"lr_decay_per_layer": 2.6, "unfreeze_every": "epoch"}


def configure(
    given: Mapping[str, Any], origin: Origin | None = None, base: ClassifierConfig | None = None
) -> ClassifierConfig:
    """The configuration of a training: ``given`` options, all others with the values of ``base`` (default: the
    defaults). origin: the run whose embedding, stack, tokenizer and state policy are taken. Raises ConfigError for an
    option that contradicts them, or --tune.
    """
    base = base or ClassifierConfig()
    if "state" in given:
        raise ConfigError(
            "state is how windows of a stream begin: how those of a text do is text_state (--text-state)."
        )
    if origin is not None:
        if given.get("min_count") not in (None, 1):
            raise ConfigError(
                f"--min-count {given['min_count']} contradicts {origin.named}, whose tokens are chosen: leave it out."
            )
        origin.check_network(given)
        origin.check_tokenizer(given)
        base = _on(origin, base, given)
        given = {name: value for name, value in given.items() if name not in ("tokenizer", "vocab_size", "min_count")}
    chosen = base.override(given)
    assert isinstance(chosen, ClassifierConfig), "options change no kind"
    if origin is None and chosen.labels.tune != "full":
        raise ConfigError(
            f"--tune {chosen.labels.tune} spares what an encoder has learnt: give one with --encoder RUN."
        )
    tuned = chosen.override({**_tuned(chosen), **given})
    assert isinstance(tuned, ClassifierConfig), "options change no kind"
    return tuned


def _on(origin: Origin, base: ClassifierConfig, given: Mapping[str, Any]) -> ClassifierConfig:
    """With the network, tokenizer and state policy of a run; the layer that predicts its tokens is left behind."""
    own = origin.stored.config.data
    data = DataConfig(
        tokenizer=own.tokenizer,
        vocab_size=own.vocab_size,
        min_count=own.min_count,
        test_fraction=0.0,
        corpus=base.data.corpus,
        valid_fraction=base.data.valid_fraction,
    )
    model = dataclasses.replace(origin.model, tie_embeddings=False, head="full", cutoffs=None)
    reading = base.override(_reading(origin.stored.config.training, given))
    assert isinstance(reading, ClassifierConfig), "options change no kind"
    return dataclasses.replace(reading, data=data, model=model)


def _reading(training: TrainingConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """How an encoder reads a text that is longer than its windows, unless ``given`` options say otherwise: one whose
    windows began anew knows no states of longer texts, so it gets windows of the length that it was trained on.
    """
    if training.state_policy != "reset" or given.get("text_state") == "carry":
        return {}
    return {"text_state": "reset", "window": training.burn_in + training.window}


def _tuned(config: ClassifierConfig) -> dict[str, Any]:
    """What --tune stands for in options of the training."""
    if config.labels.tune == "full":
        return {}
    if config.labels.tune == "gradual":
        return dict(GRADUAL)
    if config.training.freeze is not None:
        raise ConfigError("--freeze does not go with --tune probe, which freezes all below the output layer.")
    return {"freeze": _below_the_head(config.model)}


def _below_the_head(model: ModelConfig) -> tuple[str, ...]:
    """The parts of a network that the output layer stands on, from the top down."""
    layers = [f"layers.{number}" for number in reversed(range(model.num_layers))]
    return (*(["attention"] if model.attention is not None else []), *layers, "embedding")
