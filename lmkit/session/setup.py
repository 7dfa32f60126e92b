"""What a training is made of: corpus, model, sampler and train state, from a configuration."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from lmkit.config import OF_WINDOWS, Config
from lmkit.errors import ConfigError, DataError
from lmkit.files import expanded, is_file
from lmkit.hardware import memory_size
from lmkit.model.blueprint import Blueprint, LanguageBlueprint
from lmkit.model.encoder import Encoder, LossOfWindows
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.model.memory import largest, training_bytes
from lmkit.model.penalty import ActivationPenalty
from lmkit.model.shapes import shape_model
from lmkit.samplers import Sampler, fitting_layout
from lmkit.session.placement import Placement
from lmkit.session.sampling import training_sampler, window_sizes
from lmkit.text.corpus import Corpus, Progress, build_corpus
from lmkit.text.sources.opening import local_path
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.kinds import TOKENIZERS
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.training.average import make_average
from lmkit.training.freezing import freeze
from lmkit.training.loop import is_finished, validation_is_due
from lmkit.training.optimizers import make_optimizer, num_moments
from lmkit.training.state import TrainState

__all__ = [
    "TrainingSetup",
    "absolute_corpus",
    "assemble",
    "begin_training",
    "bytes_to_train",
    "check_validation",
    "measured_language_model",
    "prepare",
    "with_absolute_paths",
]

SIZES = ("hidden_size", "context", "attention")  # of a network that are suggested smaller
LEAST_VOCABULARY = 100  # a smaller one is not suggested


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training needs, made and checked, and nothing written yet. config: with absolute paths.
    init_from: what run.json records of the run that a fine-tuning begins from, None for any other training.
    """

    config: Config
    placement: Placement
    corpus: Corpus
    blueprint: Blueprint[Encoder]
    sampler: Sampler
    train: TrainState
    loss: LossOfWindows
    init_from: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether epochs, steps or seconds have run out."""
        return is_finished(self.train, self.sampler, self.config.training)

    @property
    def validates(self) -> bool:
        """Whether there is a text to validate on."""
        return "valid" in self.corpus.splits

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation comes before the next step."""
        return self.validates and validation_is_due(self.train, self.sampler, self.config.training)


def prepare(
    config: Config, placement: Placement, *, tokenizer: Tokenizer | None = None, progress: Progress | None = None
) -> TrainingSetup:
    """Read the corpus and make a new model from the seed. A tokenizer that is not given comes from the configuration.

    Raises LmkitError for every mistake of the user.
    """
    config = with_absolute_paths(config)
    return assemble(config, placement, build_corpus(config.data, tokenizer=tokenizer, progress=progress))


def assemble(
    config: Config, placement: Placement, corpus: Corpus, weights: Mapping[str, torch.Tensor] | None = None
) -> TrainingSetup:
    """A new model from the seed for a corpus that was read, or from ``weights`` by their stored names, and all that
    trains it. Raises LmkitError for every mistake of the user.
    """
    text = corpus.splits["train"]
    _check_length(config, text)
    check_validation(config, corpus)
    sampler = training_sampler(
        config.training, text.ids, text.document_starts, eos_id=corpus.tokenizer.eos_id, seed=config.runtime.order_seed
    )
    steps = window_sizes(config.training, len(text), text.document_starts).longest
    _check_memory(config, corpus.tokenizer.vocab_size, placement.device, steps)
    torch.manual_seed(config.runtime.weights_seed)
    order = _frequency_order(config, corpus) if weights is None else None
    blueprint = LanguageBlueprint(config.model, corpus.tokenizer.vocab_size)
    model = blueprint.make(order)
    if weights is not None:
        model.load_state_dict(weights, strict=False)  # second names of tied weights are absent
    model = model.to(placement.device)
    training = config.training
    loss = SequenceLoss(model, ActivationPenalty(training.ar_alpha, training.tar_beta), training.border_factor)
    train = begin_training(model, config, placement)
    return TrainingSetup(config, placement, corpus, blueprint, sampler, train, loss)


def check_validation(config: Config, corpus: Corpus) -> None:
    """Raise ConfigError where an option needs a validation and there is no split for it."""
    if "valid" in corpus.splits:
        return
    for name, wants in (("patience", None), ("average", "nt-asgd")):
        value = getattr(config.training, name)
        if value is not None and wants in (None, value):
            flag = "--patience" if wants is None else f"--{name} {wants}"
            raise ConfigError(f"{flag} needs validation: the corpus has no valid split, and --valid-fraction is 0.")


def begin_training(model: Encoder, config: Config, placement: Placement) -> TrainState:
    """The state of a training at its beginning: some parts of the network frozen, and an optimiser for the others."""
    freeze(model, config.training.freeze or ())
    scaler = torch.amp.GradScaler(placement.device.type, enabled=placement.precision == torch.float16)
    optimizer, average = make_optimizer(model, config.training), make_average(config.training)
    return TrainState(model, optimizer, scaler=scaler, average=average)


def measured_language_model(train: TrainState) -> LanguageModel:
    """The network that is measured in a training of a language model."""
    model = train.measured
    assert isinstance(model, LanguageModel), "not a training of a language model"
    return model


def _frequency_order(config: Config, corpus: Corpus) -> torch.Tensor | None:
    """Ids by falling frequency in the training split, where the adaptive softmax needs them and the tokenizer has
    another order.
    """
    if config.model.head != "adaptive" or corpus.tokenizer.ids_by_frequency:
        return None
    counts = corpus.splits["train"].frequencies(corpus.tokenizer.vocab_size)
    return torch.from_numpy(np.argsort(-counts, kind="stable"))


def _check_length(config: Config, train: TokenFile) -> None:
    training = config.training
    rows, window = training.batch_size, training.window
    if training.burn_in > len(train):
        raise DataError(
            f"--burn-in {training.burn_in} is longer than the training text, which has {len(train):,} tokens: use a "
            "smaller one."
        )
    if training.truncation not in OF_WINDOWS:  # windows are as long as rows allow
        return
    fitting_rows, fitting_window = fitting_layout(len(train), training.sampler, rows=rows, window=window)
    if (fitting_rows, fitting_window) != (rows, window):
        raise DataError(
            f"The training text has {len(train):,} tokens: too short for {rows:,} rows of {window:,}. "
            f"--batch-size {fitting_rows} --window {fitting_window} would fit."
        )


def absolute_corpus(name: str) -> str:
    """A local text by its absolute path, another corpus by its name."""
    path = local_path(name)
    return name if path is None else str(path.resolve())


def with_absolute_paths(config: Config) -> Config:
    """A local text and tokenizer by their absolute paths, so that the run finds them from any folder."""
    config = config.override({"corpus": absolute_corpus(config.data.corpus)})
    tokenizer = expanded(config.data.tokenizer)
    if config.data.tokenizer in TOKENIZERS or not is_file(tokenizer):
        return config
    return config.override({"tokenizer": str(tokenizer.resolve())})


def bytes_to_train(config: Config, vocab_size: int, device: torch.device, steps: int) -> float:
    """An estimate of the memory that a training takes with windows of up to so many steps, from fixed formulas:
    ``lmkit.model.memory``.
    """
    training = config.training
    model = shape_model(config.model, vocab_size)
    penalised = training.ar_alpha > 0 or training.tar_beta > 0
    return training_bytes(
        model,
        moments=num_moments(training) + (training.average != "none"),
        rows=training.batch_size,
        steps=steps,
        device=device,
        parts=training.accumulate,
        penalised=penalised,
    )


def _check_memory(config: Config, vocab_size: int, device: torch.device, steps: int) -> None:
    """Raise ConfigError where a training takes more memory than there is; it says what would fit."""
    needed, present = bytes_to_train(config, vocab_size, device, steps), memory_size(device)
    if present is None or needed <= present:
        return
    style = config.training.truncation
    windows = "" if style in OF_WINDOWS else f" and --truncation {style}, in windows of {steps:,} steps,"
    raise ConfigError(
        f"To train this model with a vocabulary of {vocab_size:,}{windows} takes about {needed / 2**30:,.1f} GiB, and "
        f"this machine has {present / 2**30:,.1f} GiB: {_what_fits(config, vocab_size, device, steps, present)}."
    )


def _what_fits(config: Config, vocab_size: int, device: torch.device, steps: int, present: int) -> str:
    def fits(config: Config, vocab_size: int, steps: int = steps) -> bool:
        return bytes_to_train(config, vocab_size, device, steps) <= present

    def fitting(name: str) -> int:
        most = getattr(config.model, name) or 0
        return largest(lambda number: fits(config.override({name: number}), vocab_size), most)

    options = []
    for name in SIZES:
        with contextlib.suppress(ConfigError):  # of options that do not go with a smaller size
            size = fitting(name)
            options += [f"--{name.replace('_', '-')} {size}"] if size else []
    batch_size = config.training.batch_size
    rows = largest(
        lambda number: fits(config.override({"accumulate": math.ceil(batch_size / number)}), vocab_size), batch_size
    )
    options += [f"--accumulate {math.ceil(batch_size / rows)}"] if rows else []
    if config.data.tokenizer in ("word", "bpe"):
        with contextlib.suppress(ConfigError):
            size = largest(lambda number: fits(config, number + LEAST_VOCABULARY), vocab_size - LEAST_VOCABULARY)
            options += [f"--vocab-size {size + LEAST_VOCABULARY}"] if size else []
    if config.training.truncation not in OF_WINDOWS:
        size = largest(partial(fits, config, vocab_size), steps)
        flag = "--k2" if config.training.truncation == "k1k2" else "--truncation fixed --window"
        options += [f"{flag} {size}"] if size else []
    return f"{' or '.join(options)} would fit" if options else "choose a smaller --batch-size, --window or --layers"
