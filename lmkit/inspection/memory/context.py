"""How much of the text before a token a network uses: the loss of the same tokens with less and less of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.inspection.finding import Finding, Floats
from lmkit.inspection.stretches import Ids, Positions, before, unrelated
from lmkit.model.inference import inference
from lmkit.model.language_model import LanguageModel

__all__ = ["WAYS", "Context", "Surroundings", "measure_context", "stream_losses"]

WAYS = ("fresh", "unrelated", "shuffled", "dropped")
TOKENS_AT_ONCE = 1 << 15
WINDOW = 256


@dataclass(frozen=True, eq=False)
class Context(Finding):
    """Losses in nats of the tokens at ``positions`` (R,), the same for every length.

    whole: (R,) with all of the text before them. Others are (L, R), by how many tokens (``lengths``) are left as they
    are before the predicted one: ``fresh``, nothing before those but ``<eos>`` and the initial state; ``unrelated``,
    other text before them; ``shuffled`` and ``dropped``, before them the others up to the largest length, in a drawn
    order, and with a drawn half left out.
    """

    lengths: tuple[int, ...]
    positions: Positions
    whole: Floats
    fresh: Floats
    unrelated: Floats
    shuffled: Floats
    dropped: Floats

    def excess(self, way: str) -> tuple[Floats, Floats]:
        """What a way costs over the whole text, in nats per token, and the standard error of that: (L,) each."""
        differences: Floats = getattr(self, way) - self.whole
        return differences.mean(1), differences.std(1, ddof=1) / math.sqrt(max(1, differences.shape[1]))

    def effective(self, way: str = "fresh", tolerance: float = 0.01) -> int | None:
        """The smallest length from which on the perplexity is at most this share above that with all of the text; None
        where no length is enough.
        """
        enough = self.excess(way)[0] <= math.log1p(tolerance)
        start = len(enough) - int(np.cumprod(enough[::-1]).sum())
        return self.lengths[start] if start < len(enough) else None

    def to_dict(self) -> dict[str, Any]:
        """Means over the tokens, and what each way costs."""
        costs = {way: dict(zip(("excess", "standard_error"), self.excess(way), strict=True)) for way in WAYS}
        found = {
            way: {"loss": getattr(self, way).mean(1).tolist(), **{key: value.tolist() for key, value in cost.items()}}
            for way, cost in costs.items()
        }
        effective = {way: self.effective(way) for way in ("fresh", "unrelated")}
        whole = {"lengths": list(self.lengths), "tokens": len(self.positions), "whole": float(self.whole.mean())}
        return {**whole, **found, "effective": effective}


def measure_context(
    model: LanguageModel,
    ids: Ids,
    positions: Positions,
    *,
    eos_id: int,
    lengths: Sequence[int],
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> Context:
    """The losses of the tokens at some positions of a text (N,), none of which is before the largest length.

    Khandelwal, He, Qi & Jurafsky (2018), "Sharp nearby, fuzzy far away", arXiv 1805.04623: truncation (section 4), and
    the order and the identity of what is far away (section 5). report: called with the share that is done.
    """
    around = Surroundings.of(ids, positions, max(lengths), seed)
    targets = torch.from_numpy(np.asarray(ids)[positions].astype(np.int64))
    whole = stream_losses(model, ids[: int(positions.max()) + 1], eos_id)[positions]
    found: dict[str, list[Floats]] = {way: [] for way in WAYS}
    for number, (way, length) in enumerate(product(WAYS, lengths)):
        found[way].append(_losses(model, around.read(way, length, eos_id), targets))
        if report is not None:
            report((number + 1) / (len(WAYS) * len(lengths)))
    return Context(tuple(lengths), positions, whole, *(np.stack(found[way]) for way in WAYS))


def stream_losses(model: LanguageModel, ids: Ids, eos_id: int) -> Floats:
    """The loss of every token of a text (N,) read as one stream, in nats."""
    device = next(model.parameters()).device
    targets = torch.from_numpy(np.asarray(ids).astype(np.int64)).to(device)
    inputs = torch.cat([targets.new_tensor([eos_id]), targets[:-1]])
    losses = []
    with inference(model):
        state = model.initial_state(1)
        for tokens, wanted in zip(inputs.split(WINDOW), targets.split(WINDOW), strict=True):
            hidden, state = model.features(tokens[None], state)
            losses.append(model.head.nll(hidden[0], wanted))
    return torch.cat(losses).double().cpu().numpy()


class Surroundings(NamedTuple):
    """The tokens before some positions (R, C), other text (R, C), and a number in [0, 1) for each of the tokens."""

    context: Tensor
    other: Tensor
    drawn: Tensor

    @classmethod
    def of(cls, ids: Ids, positions: Positions, longest: int, seed: int) -> Surroundings:
        context = before(ids, positions, longest)
        drawn = torch.rand(context.shape, generator=torch.Generator().manual_seed(seed))
        return cls(context, unrelated(ids, positions, longest), drawn)

    def read(self, way: str, length: int, eos_id: int) -> Tensor:
        """What is read in one of the ways, (R, ...), with ``length`` tokens left as they are."""
        number = self.context.shape[1] - length
        far, near, drawn = self.context[:, :number], self.context[:, number:], self.drawn[:, :number]
        match way:
            case "fresh":
                far = far[:, :0]
            case "unrelated":
                far = self.other
            case "shuffled":
                far = far.gather(1, drawn.argsort(1))
            case "dropped":
                far = far.gather(1, drawn.topk(number // 2, dim=1).indices.sort(1).values)
        return torch.cat([torch.full((len(far), 1), eos_id), far, near], dim=1)


def _losses(model: LanguageModel, inputs: Tensor, targets: Tensor) -> Floats:
    """The losses (R,) of what follows inputs (R, T) from the initial state."""
    device = next(model.parameters()).device
    rows = max(1, TOKENS_AT_ONCE // inputs.shape[1])
    losses = []
    with inference(model):
        for tokens, wanted in zip(inputs.split(rows), targets.split(rows), strict=True):
            hidden, _ = model.features(tokens.to(device), model.initial_state(len(tokens)))
            losses.append(model.head.nll(hidden[:, -1], wanted.to(device)))
    return torch.cat(losses).double().cpu().numpy()
