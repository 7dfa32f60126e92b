"""What a training is made of: corpus, model, sampler and train state, from a configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lmkit.config import OF_WINDOWS, Config
from lmkit.distributed.parallel import Parallel
from lmkit.errors import ConfigError, DataError
from lmkit.files import expanded, is_file
from lmkit.model.blueprint import Blueprint, LanguageBlueprint
from lmkit.model.encoder import Encoder
from lmkit.model.language_model import LanguageModel, SequenceLoss
from lmkit.model.penalty import ActivationPenalty
from lmkit.samplers import Sampler, fitting_layout
from lmkit.session.memory import check_memory
from lmkit.session.placement import Placement
from lmkit.session.processes.orders import Orders
from lmkit.session.sampling import training_sampler, window_sizes
from lmkit.text.corpus import Corpus, Progress, build_corpus
from lmkit.text.sources.opening import local_path
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.kinds import TOKENIZERS
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.training.average import make_average
from lmkit.training.freezing import freeze
from lmkit.training.generators import Generators
from lmkit.training.loop import is_finished, validation_is_due
from lmkit.training.optimizers import make_optimizer
from lmkit.training.state import TrainState
from lmkit.training.step import Update

__all__ = [
    "TrainingSetup",
    "absolute_corpus",
    "assemble",
    "begin_training",
    "check_validation",
    "measured_language_model",
    "prepare",
    "with_absolute_paths",
]


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training needs, made and checked, and nothing written yet. config: with absolute paths. loss:
    its forward gives a WindowLoss.
    init_from: what run.json records of the run that a fine-tuning begins from, None for any other training.
    """

    config: Config
    placement: Placement
    corpus: Corpus
    blueprint: Blueprint[Encoder]
    sampler: Sampler
    train: TrainState
    loss: torch.nn.Module
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

    @cached_property
    def orders(self) -> Orders:
        """What the first process tells the others, where there are any."""
        return Orders(self.placement.world)

    @property
    def _fewest_rows(self) -> int:
        """Rows of a batch that each process has at least: no process can compute more parts, and all must compute as
        many, because each part draws masks that are the same everywhere.
        """
        return self.config.training.batch_size // self.placement.world.size

    def make_update(self) -> Update:
        """How the steps are taken."""
        training, placement = self.config.training, self.placement
        device, precision = placement.device, placement.precision
        update = Update(
            self.loss,
            device,
            precision,
            training.max_grad_norm,
            on_nonfinite=training.on_nonfinite,
            skip_spikes=training.skip_spikes,
            read_every=Update.steps_per_reading(
                device, precision, self.train.optimizer, self.config.checkpoint.checkpoint_every
            ),
            accumulate=min(training.accumulate, self._fewest_rows),
        )
        if placement.world.alone:
            return update
        parallel = Parallel(self.loss, placement.world)
        return dataclasses.replace(update, loss=parallel, no_sync=parallel.no_sync)


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
    check_memory(config, corpus.tokenizer.vocab_size, placement, steps)
    torch.manual_seed(config.runtime.weights_seed)
    order = _frequency_order(config, corpus) if weights is None else None
    blueprint = LanguageBlueprint(config.model, corpus.tokenizer.vocab_size)
    model = blueprint.make(order)
    if weights is not None:
        model.load_state_dict(weights, strict=False)  # second names of tied weights are absent
    model = model.to(placement.device)
    training = config.training
    train, penalty = begin_training(model, config, placement), ActivationPenalty(training.ar_alpha, training.tar_beta)
    loss = SequenceLoss(model, penalty, training.border_factor, train.generators.common)
    return TrainingSetup(config, placement, corpus, blueprint, sampler, train, loss)


def check_validation(config: Config, corpus: Corpus, *own: str) -> None:
    """Raise ConfigError where an option needs a validation and there is no split for it. own: those of a kind of
    training, as they are written.
    """
    wanted = {
        "--patience": config.training.patience is not None,
        "--average nt-asgd": config.training.average == "nt-asgd",
    }
    flags = [*(flag for flag, given in wanted.items() if given), *own]
    if flags and "valid" not in corpus.splits:
        raise ConfigError(f"{flags[0]} needs validation: the corpus has no valid split, and --valid-fraction is 0.")


def begin_training(model: Encoder, config: Config, placement: Placement) -> TrainState:
    """The state of a training at its beginning: some parts of the network frozen, and an optimiser for the others."""
    freeze(model, config.training.freeze or ())
    scaler = torch.amp.GradScaler(placement.device.type, enabled=placement.precision == torch.float16)
    optimizer, average = make_optimizer(model, config.training), make_average(config.training)
    generators = Generators.begin(placement.world, config.runtime.weights_seed, placement.device)
    return TrainState(model, optimizer, scaler=scaler, average=average, generators=generators)


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
