"""Checks of a classifier's run: its labelled texts, and what its network says of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.classify.encoding import encode_documents
from lmkit.classify.training.setup import read_splits
from lmkit.config import ClassifierConfig
from lmkit.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, judged
from lmkit.doctor.run.carried import GUESSING
from lmkit.errors import LmkitError
from lmkit.evaluation.predictor import TOLERANCE
from lmkit.model.classifier import Classifier
from lmkit.model.inference import inference
from lmkit.model.pooling import pooled
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["better_than_guessing", "check_texts", "classifier_checks"]

PROBED = 8  # texts
LONGEST = 200  # tokens of each
DRAWN = 24  # tokens of each where there are no texts
NATS = " nats"
Info = Mapping[str, Any]


def check_texts(config: ClassifierConfig, info: Info) -> tuple[Check, LabelledTexts | None]:
    """Whether the labelled texts are still the recorded ones, read again; and those that were trained on."""
    name = "labelled texts"
    if config.data.corpus == "-":
        return Check(name, SKIPPED, "they were standard input, which is gone"), None
    try:
        splits = read_splits(config)
    except LmkitError as error:
        return Check(name, SKIPPED, "cannot be read here", None, (str(error),)), None
    recorded = info.get("splits")
    found = {name: split.sha256 for name, split in splits.by_name().items()}
    if isinstance(recorded, Mapping) and found == {
        name: one.get("sha256") if isinstance(one, Mapping) else None for name, one in recorded.items()
    }:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in splits.by_name().items())
        return Check(name, OK, f"{sizes}, sha256 as recorded"), splits.train
    advice = "The texts or their labels have changed since the training: the run cannot be resumed with them."
    # the run may be a stranger's, and the path in it lead to a private file: later checks do not read it
    return Check(name, FAILED, "sha256 is not the recorded one", None, (advice,)), None


def classifier_checks(model: Classifier, tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Check]:
    """Self-tests that any classifier must pass, on some of its texts, or on tokens drawn at random."""
    documents = _probes(model, tokenizer, texts)
    with inference(model):
        alone = torch.cat([model.log_probs(one[None], _lengths([one])) for one in documents])
        together = model.log_probs(*_padded(documents))
        turned = model.log_probs(*_padded(documents[::-1], padding=9)).flip(0)
        prefixes = torch.cat([torch.cat(list(model.prefix_log_probs(one)))[-1:] for one in documents])
        cut = [_with_window(model, window) for window in (1, 7)]
        windowed = [one.log_probs(*_padded(documents)) for one in cut]
        by_hand = [torch.cat([_by_windows(one, text) for text in documents]) if model.resets else alone for one in cut]
    differences = (
        (
            "texts are independent",
            max(_worst(alone, together), _worst(alone, turned)),
            "A text's probabilities depend on the texts or the padding beside it.",
        ),
        (
            "windows = each by itself" if model.resets else "windows = one pass",
            max(map(_worst, by_hand, windowed)),
            "The probabilities are not those of windows that begin anew."
            if model.resets
            else "The probabilities depend on how a text is cut into windows: not all of the state is carried.",
        ),
        (
            "word by word = whole text",
            _worst(alone, prefixes),
            "The probabilities after the last word are not those of the text.",
        ),
    )
    for name, error, advice in differences:
        yield judged(name, error, TOLERANCE, NATS, advice)
    missing = float((alone.double().exp().sum(dim=1) - 1).abs().max())
    yield judged(
        "probabilities sum to one", missing, TOLERANCE, "", "Probabilities that do not sum to one mean nothing."
    )


def better_than_guessing(metrics: Sequence[Info], guess: float) -> Check:
    """Whether the closing loss of a finished run is better than equal probabilities for all classes."""
    final = next((record for record in reversed(metrics) if record.get("kind") == "final"), None)
    if final is None or "nats_per_document" not in final:
        return Check(GUESSING, SKIPPED, "the run is not finished, or had nothing to validate on")
    loss = final["nats_per_document"]
    if isinstance(loss, (int, float)) and loss <= guess:
        return Check(GUESSING, OK, f"{loss:.4g} nats per text, guessing costs {guess:.4g}", float(loss))
    shown = f"{loss:.4g}" if isinstance(loss, (int, float)) else "no finite number of"
    advice = "The closing loss is worse than guessing: train again with a lower --lr, or longer."
    return Check(GUESSING, WARNING, f"{shown} nats per text, guessing costs {guess:.4g}", None, (advice,))


def _probes(model: Classifier, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tensor]:
    """Documents of different lengths, ``<eos>`` first."""
    device = next(model.parameters()).device
    if not texts:
        draw = np.random.default_rng(0)
        drawn: list[NDArray[Any]] = [
            draw.integers(tokenizer.vocab_size, size=DRAWN + number) for number in range(PROBED)
        ]
        return [torch.from_numpy(one.astype(np.int64)).to(device) for one in drawn]
    ids, starts = encode_documents(tokenizer, texts[:PROBED])
    pieces = np.split(ids.astype(np.int64), starts[1:])
    return [torch.from_numpy(one[:LONGEST]).to(device) for one in pieces]


def _padded(documents: Sequence[Tensor], padding: int = 0) -> tuple[Tensor, Tensor]:
    lengths = _lengths(documents)
    tokens = documents[0].new_zeros((len(documents), int(lengths.max()) + padding))
    for row, one in enumerate(documents):
        tokens[row, : len(one)] = one
    return tokens, lengths


def _lengths(documents: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(one) for one in documents])


def _with_window(model: Classifier, window: int) -> Classifier:
    """The same network, which reads shorter windows."""
    other = copy.copy(model)
    other.window = window
    return other


def _by_windows(model: Classifier, text: Tensor) -> Tensor:
    """Log-probabilities (1, C) of a text whose windows are each read from the initial state, pooled at once."""
    parts = [model.outputs(part[None], model.initial_state(1))[0] for part in text.split(model.window)]
    return model.head.log_probs(pooled(model.pooling, torch.cat(parts), _lengths([text]), None))


def _worst(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max())
