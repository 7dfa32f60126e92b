"""What a model answers to the questions of a generated text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lmkit.api import TrainedModel
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.model.softmax_loss import IGNORE
from lmkit.text.sources.generated import Item

__all__ = ["answer_log_probs", "answer_losses", "swapped_effect"]


def answer_log_probs(model: TrainedModel, item: Item, answers: Sequence[str] | None = None) -> NDArray[np.float64]:
    """The log-probability of each answer after the item's context, read from ``<eos>``, whatever its tokens are.

    answers: by default the right one and then the wrong ones.
    """
    chosen = (item.right, *item.wrong) if answers is None else answers
    context = model.tokenizer.encode(item.context).tolist()
    rows = [model.tokenizer.encode(item.context + answer).tolist() for answer in chosen]
    assert all(row[: len(context)] == context for row in rows), "an answer joins the context in one token"
    longest = max(map(len, rows))
    padded = [row + [model.tokenizer.eos_id] * (longest - len(row)) for row in rows]
    targets = [
        [IGNORE] * len(context) + row[len(context) :] + [IGNORE] * (longest - len(row)) for row in rows
    ]  # the context is the same for all
    inputs = torch.tensor([[model.tokenizer.eos_id, *row[:-1]] for row in padded])
    predictor = NetworkPredictor(model.model)
    scores, _ = predictor.score(inputs, torch.tensor(targets), predictor.initial_state(len(rows)))
    found: NDArray[np.float64] = scores.double().sum(dim=1).cpu().numpy()
    return found


def answer_losses(model: TrainedModel, items: Iterable[Item]) -> list[float]:
    """Nats of the right answer to each question."""
    return [-float(answer_log_probs(model, item, [item.right])[0]) for item in items]


def swapped_effect(model: TrainedModel, items: Sequence[Item]) -> float:
    """How much the cue decides, over items that differ by their cue alone and have the same answers: the probability of
    an answer, among them, after its own cue less the mean after the other cues. 1: the cue decides; 0: it does not.
    """
    answers = [item.right for item in items]
    logs = np.array([answer_log_probs(model, item, answers) for item in items])
    odds = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))
    own = np.trace(odds) / len(items)
    others = (odds.sum() - np.trace(odds)) / (len(items) * (len(items) - 1))
    return float(own - others)
