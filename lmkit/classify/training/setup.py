"""What the training of a classifier is made of: labelled texts, tokenizer, network, sampler and train state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.classify.data.labelled import LabelledTexts, read_labelled
from lmkit.classify.data.splitting import split_valid
from lmkit.classify.encoding import encode_labelled
from lmkit.config import ClassifierConfig, DataConfig
from lmkit.errors import ConfigError, DataError
from lmkit.hardware import memory_size
from lmkit.model.classifier import ClassifierLoss
from lmkit.model.memory import largest, training_bytes
from lmkit.model.shapes import without_memory
from lmkit.run.stored import classifier_blueprint
from lmkit.samplers import LabelledSampler
from lmkit.session.placement import Placement
from lmkit.session.setup import TrainingSetup, absolute_corpus, begin_training, check_validation, with_absolute_paths
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizers.kinds import TOKENIZERS, load_tokenizer
from lmkit.text.tokenizers.tokenizer import Tokenizer
from lmkit.training.optimizers import num_moments

__all__ = ["LabelledSetup", "LabelledSplits", "assemble", "read_splits", "tokenizer_for", "with_paths"]


class LabelledSplits(NamedTuple):
    """The texts to train on, and those to validate on, where there are any."""

    train: LabelledTexts
    valid: LabelledTexts | None

    def by_name(self) -> dict[str, LabelledTexts]:
        """Those that are there."""
        return {"train": self.train} | ({} if self.valid is None else {"valid": self.valid})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledSetup(TrainingSetup):
    """The set-up of a classifier's training, with its texts."""

    config: ClassifierConfig
    splits: LabelledSplits


def with_paths(config: ClassifierConfig) -> ClassifierConfig:
    """Files by their absolute paths, so that the run finds them from any folder."""
    absolute = with_absolute_paths(config)
    assert isinstance(absolute, ClassifierConfig), "paths change no kind"
    if absolute.labels.valid is None:
        return absolute
    labels = dataclasses.replace(absolute.labels, valid=absolute_corpus(absolute.labels.valid))
    return dataclasses.replace(absolute, labels=labels)


def read_splits(config: ClassifierConfig) -> LabelledSplits:
    """The texts that a configuration names; where its classes are known, the labels must be among them. Raises
    DataError.
    """
    data, labels = config.data, config.labels
    if "-" in (data.corpus, labels.valid):
        raise DataError("A training needs files, which eval and a resume read again: save standard input to one first.")
    how: dict[str, Any] = {"text_column": labels.text_column, "label_column": labels.label_column}
    how["form"] = labels.input_format
    train = read_labelled(data.corpus, **how, classes=labels.classes)
    if labels.valid is not None:
        return LabelledSplits(train, read_labelled(labels.valid, **how, classes=train.classes))
    if data.valid_fraction == 0:
        return LabelledSplits(train, None)
    return LabelledSplits(*split_valid(train, data.valid_fraction, config.runtime.seed))


def tokenizer_for(config: DataConfig, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer that a configuration asks for: trained on the training texts alone, or read from a file."""
    if config.tokenizer not in TOKENIZERS:
        return load_tokenizer(config.tokenizer)
    kind = TOKENIZERS[config.tokenizer]
    return kind.train(
        _chunks(texts, separate=kind.joins_chunks), vocab_size=config.vocab_size, min_count=config.min_count
    )


def assemble(
    config: ClassifierConfig,
    placement: Placement,
    splits: LabelledSplits,
    tokenizer: Tokenizer,
    weights: Mapping[str, Tensor] | None = None,
) -> LabelledSetup:
    """A new classifier from the seed, its encoder with ``weights`` by their stored names where they are given, and all
    that trains it. config: with its classes. Raises LmkitError for every mistake of the user.
    """
    corpus = _corpus(config, splits, tokenizer)
    best_by = config.labels.best_by
    check_validation(config, corpus, *([] if best_by == "nats" else [f"--best-by {best_by}"]))
    blueprint = classifier_blueprint(config, tokenizer.vocab_size)
    _check_memory(config, corpus, placement)
    torch.manual_seed(config.runtime.weights_seed)
    model = blueprint.make()
    if weights is not None:
        own = {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}
        model.load_state_dict(own, strict=False)
    model = model.to(placement.device)
    loss = ClassifierLoss(model, _class_weights(config, splits.train)).to(placement.device)
    return LabelledSetup(
        config=config,
        placement=placement,
        corpus=corpus,
        blueprint=blueprint,
        sampler=_sampler(config, corpus, splits.train),
        train=begin_training(model, config, placement),
        loss=loss,
        splits=splits,
    )


def _chunks(texts: Sequence[str], *, separate: bool) -> Iterator[str]:
    """The texts; ``separate`` ends each with a line end, so that no word reaches over two of them."""
    for text in texts:
        yield text
        if separate and not text.endswith("\n"):
            yield "\n"


def _corpus(config: ClassifierConfig, splits: LabelledSplits, tokenizer: Tokenizer) -> Corpus:
    texts = splits.by_name()
    counts = {name: dict(zip(split.classes, split.counts.tolist(), strict=True)) for name, split in texts.items()}
    info = {"source": config.data.corpus, "sha256": splits.train.sha256, "classes": counts}
    tokens = {name: encode_labelled(tokenizer, split) for name, split in texts.items()}
    return Corpus(Path(splits.train.name).stem, tokenizer, tokens, info)


def _sampler(config: ClassifierConfig, corpus: Corpus, train: LabelledTexts) -> LabelledSampler:
    tokens = corpus.splits["train"]
    return LabelledSampler(
        tokens.ids,
        eos_id=corpus.tokenizer.eos_id,
        batch_size=config.training.batch_size,
        window=config.training.window,
        seed=config.runtime.order_seed,
        documents=tokens.document_starts,
        labels=train.labels,
    )


def _class_weights(config: ClassifierConfig, train: LabelledTexts) -> Tensor | None:
    """By which the loss of a text is multiplied: N / (C n_c), so that their mean over the training texts is 1."""
    if config.labels.class_weights == "none":
        return None
    counts = np.maximum(train.counts, 1)
    return torch.from_numpy(len(train) / (len(counts) * counts)).float()


def _check_memory(config: ClassifierConfig, corpus: Corpus, placement: Placement) -> None:
    """Raise ConfigError where a training takes more memory than there is; it says what would fit."""
    present = memory_size(placement.device)
    model = without_memory(classifier_blueprint(config, corpus.tokenizer.vocab_size).make)
    training, tokens = config.training, corpus.splits["train"]
    longest = int(np.diff(tokens.document_starts, append=len(tokens)).max())

    def needed(rows: int) -> float:
        return training_bytes(
            model,
            moments=num_moments(training) + (training.average != "none"),
            rows=rows,
            steps=min(training.window, longest),
            device=placement.device,
            parts=training.accumulate,
        )

    if present is None or needed(training.batch_size) <= present:
        return
    rows = largest(lambda number: needed(number) <= present, training.batch_size)
    advice = f"--batch-size {rows} would fit" if rows else "choose a smaller --hidden-size"
    raise ConfigError(
        f"To train this classifier takes about {needed(training.batch_size) / 2**30:,.1f} GiB, and this machine has "
        f"{present / 2**30:,.1f} GiB: {advice}."
    )
