"""What a model answers to the questions of generated texts."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lmkit.api import TrainedModel
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.text.sources.generated.item import Item

__all__ = ["answer_losses", "are_right"]


def answer_losses(model: TrainedModel, items: Iterable[Item]) -> list[float]:
    """Nats of the right answer, one character each, to each question, read after ``<eos>``."""
    return [-float(log_probs[_id(model, item.right)]) for item, log_probs in _answers(model, items)]


def are_right(model: TrainedModel, items: Iterable[Item]) -> list[bool]:
    """Whether the right answer is more probable than each of the wrong ones."""
    return [
        all(log_probs[_id(model, item.right)] > log_probs[_id(model, wrong)] for wrong in item.wrong)
        for item, log_probs in _answers(model, items)
    ]


def _answers(model: TrainedModel, items: Iterable[Item]) -> Iterable[tuple[Item, torch.Tensor]]:
    """Each question with the log-probabilities (V,) of what follows it."""
    predictor = NetworkPredictor(model.model)
    for item in items:
        ids = [model.tokenizer.eos_id, *model.tokenizer.encode(item.context).tolist()]
        log_probs, _ = predictor.distribution(torch.tensor([ids]), predictor.initial_state(1))
        yield item, log_probs[0, -1]


def _id(model: TrainedModel, answer: str) -> int:
    (found,) = model.tokenizer.encode(answer).tolist()
    return int(found)
