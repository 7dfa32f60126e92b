"""A trained classifier with its tokenizer: what ``lmkit.load`` gives for a run of ``lmkit classify train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.classify.encoding import encode_documents
from lmkit.classify.prefixes import Prefixes
from lmkit.config import ClassifierConfig
from lmkit.errors import DataError
from lmkit.hardware import choose_device
from lmkit.model.classifier import Classifier
from lmkit.model.inference import inference
from lmkit.run.directory import RunDirectory
from lmkit.run.stored import StoredRun
from lmkit.text.corpus import Progress
from lmkit.text.tokenizers.tokenizer import Ids, Tokenizer

__all__ = ["TrainedClassifier", "load_classifier", "log_probs_of"]

AT_ONCE = 1 << 14  # tokens with their padding, in a batch
MOST_ROWS = 512


class TrainedClassifier:
    """A classifier with its tokenizer.

    model: the network, in evaluation mode. tokenizer: text to ids. config: the run's configuration. progress: set it to
    a function of (stage, share) that is to be called while texts are read.
    """

    def __init__(
        self, model: Classifier, tokenizer: Tokenizer, config: ClassifierConfig, run: StoredRun | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.run = run
        self.progress: Progress | None = None

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        facts = [
            self.config.network,
            f"{parameters:,} parameters",
            *(() if self.run is None else (str(self.run.path),)),
        ]
        return f"<TrainedClassifier: {', '.join(facts)}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.config.labels.classes or ()

    def classify(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities (N, C) in nats of the classes for each of the texts, which may be of any length. Raises
        DataError for an empty text.
        """
        if isinstance(texts, str):
            raise DataError("Give a list of texts, not one text: classify([text]).")
        if any(not text.strip() for text in texts):
            raise DataError(f"Text {next(i for i, text in enumerate(texts) if not text.strip()):,} is empty.")
        report = None if self.progress is None else partial(self.progress, "classifying")
        return log_probs_of(self.model, *encode_documents(self.tokenizer, texts), report=report)

    def classify_prefixes(self, text: str) -> Prefixes:
        """A text word by word: what ``classify`` gives for the text up to the end of each of its words."""
        ids, spans = self.tokenizer.encode_with_offsets(text)
        words, ends = _words(text)
        last = np.searchsorted(spans[:, 1], ends, side="right")  # tokens that lie before the end of a word
        tokens = torch.from_numpy(np.concatenate([[self.tokenizer.eos_id], ids]).astype(np.int64))
        with inference(self.model):
            parts = list(self.model.prefix_log_probs(tokens.to(next(self.model.parameters()).device)))
        log_probs = torch.cat(parts).double().cpu().numpy()
        return Prefixes(tuple(words), log_probs[last])


def log_probs_of(
    model: Classifier, ids: Ids, starts: Ids, *, report: Callable[[float], None] | None = None
) -> NDArray[np.float64]:
    """Log-probabilities (D, C) of documents that stand one after the other in ``ids`` and begin at ``starts``."""
    lengths = np.diff(starts, append=len(ids))
    found = np.empty((len(starts), model.head.bias.shape[0]))
    device = next(model.parameters()).device
    done = 0
    with inference(model):
        for batch in _batches(lengths):
            tokens, sizes = _padded(ids, starts[batch], lengths[batch])
            found[batch] = model.log_probs(tokens.to(device), sizes).double().cpu().numpy()
            done += int(lengths[batch].sum())
            if report is not None:
                report(done / max(1, len(ids)))
    return found


def _batches(lengths: Ids) -> Iterator[Ids]:
    """Documents of about one length together, the longest first."""
    order = np.argsort(-lengths, kind="stable")
    while len(order):
        rows = min(MOST_ROWS, max(1, AT_ONCE // int(lengths[order[0]])))
        yield order[:rows]
        order = order[rows:]


def _padded(ids: Ids, starts: Ids, lengths: Ids) -> tuple[Tensor, Tensor]:
    tokens = np.zeros((len(starts), int(lengths.max())), dtype=np.int64)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        tokens[row, :length] = ids[start : start + length]
    return torch.from_numpy(tokens), torch.from_numpy(lengths.astype(np.int64))


def _words(text: str) -> tuple[list[str], list[int]]:
    """The words between white space, and where each ends."""
    words, ends, at = text.split(), [], 0
    for word in words:
        at = text.index(word, at) + len(word)
        ends.append(at)
    return words, ends


def load_classifier(path: str | Path, device: str = "auto", checkpoint: str | int = "best") -> TrainedClassifier:
    """A trained classifier from its run folder. checkpoint: which model: best, last or a step. Raises RunError for a
    folder that is no run of a classifier.
    """
    run = RunDirectory.open(path)
    stored = run.stored(ClassifierConfig.kind)
    return classifier_of(run, stored, device, checkpoint)


def classifier_of(run: RunDirectory, stored: StoredRun, device: str, checkpoint: str | int) -> TrainedClassifier:
    """The trained classifier of a run that was read."""
    weights = None if checkpoint == "best" else run.checkpoints.weights(checkpoint)
    model = run.load_model(stored.classifier, choose_device(device), weights)
    config = stored.config
    assert isinstance(config, ClassifierConfig), "its blueprint is a classifier's"
    return TrainedClassifier(model, stored.tokenizer, config, stored)
