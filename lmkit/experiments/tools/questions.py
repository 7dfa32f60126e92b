"""What a model answers to the questions of generated texts."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lmkit.api import TrainedModel
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.text.sources.generated.item import Item

__all__ = ["answer_losses"]


def answer_losses(model: TrainedModel, items: Iterable[Item]) -> list[float]:
    """Nats of the right answer, one character each, to each question, read after ``<eos>``."""
    predictor = NetworkPredictor(model.model)
    losses = []
    for item in items:
        ids = [model.tokenizer.eos_id, *model.tokenizer.encode(item.context).tolist()]
        (answer,) = model.tokenizer.encode(item.right).tolist()
        log_probs, _ = predictor.distribution(torch.tensor([ids]), predictor.initial_state(1))
        losses.append(-float(log_probs[0, -1, answer]))
    return losses
