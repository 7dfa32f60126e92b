"""What happens to the state that is carried through a long text: whether it grows, and whether it still helps.

A cell whose state is not bounded (a rectifier's, above all) can be stable over the windows of training and grow without
end beyond them; losses of short rows do not show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.evaluation.comparison.losses import scored_losses
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.model.state import State
from lmkit.text.token_file import TokenFile

__all__ = ["PROBED_TOKENS", "CarriedState", "read_carried_state"]

Floats = NDArray[np.float64]
PROBED_TOKENS = 4096
LEAST = 512  # tokens: below it the comparison is mostly chance
WINDOW = 64
ROWS = 16  # those of the comparison: none of their states is older than a sixteenth of the text
GROWTH = 2.0  # of the last quarter over the second: more than a state that fills up, less than one that grows steadily
EXCESS = 0.1  # nats per token; a longer context costs nothing, and the same tokens are compared
ADVICE = "Train longer or at a lower --lr, take another --cell, or measure with --state reset."


class CarriedState(NamedTuple):
    """A text read as one stream and in ROWS rows that start from a fresh state.

    norms: root mean square of the hidden state after each window of the stream, of the layer where it is largest.
    carried, fresh: the losses of the same tokens (N,) in nats, in the stream and in the rows.
    """

    norms: Floats
    carried: Floats
    fresh: Floats

    @property
    def broken_at(self) -> int | None:
        """The first token of the stream whose loss, or window whose state, is not finite; None if all are."""
        losses = np.flatnonzero(~np.isfinite(self.carried))
        states = np.flatnonzero(~np.isfinite(self.norms)) * WINDOW
        found = [*losses[:1].tolist(), *states[:1].tolist()]
        return int(min(found)) + 1 if found else None

    @property
    def growth(self) -> float:
        """How many times larger the state is in the last quarter of the text than in the second."""
        _, earlier, _, last = (float(quarter.mean()) for quarter in np.array_split(self.norms, 4))
        return last / earlier if earlier > 0 else 1.0

    @property
    def excess(self) -> float:
        """How many nats per token the carried state costs in the second half of the text over a fresh one."""
        return float((self.carried - self.fresh)[self.half :].mean())

    @property
    def grows(self) -> bool:
        """Whether the state keeps growing, or is not finite."""
        return self.broken_at is not None or not self.growth <= GROWTH

    @property
    def costs(self) -> bool:
        """Whether the losses are worse for it."""
        return not self.excess <= EXCESS

    @property
    def half(self) -> int:
        """Where the second half of the text begins."""
        return len(self.carried) // 2

    def norm_text(self) -> str:
        """The size of the state over the text, for people."""
        windows = (1, len(self.norms) // 4, len(self.norms))
        shown = (
            f"{self.norms[window - 1]:.3g} after {min(window * WINDOW, len(self.carried)):,}" for window in windows
        )
        return f"root mean square {', '.join(shown)} tokens"

    def loss_text(self) -> str:
        """The losses of the second half, for people."""
        carried, fresh = float(self.carried[self.half :].mean()), float(self.fresh[self.half :].mean())
        return f"{carried:.3g} nats per token beyond token {self.half:,}, {fresh:.3g} with a fresh state"

    def notes(self) -> list[str]:
        """What is wrong, with the values that show it; empty where nothing is."""
        if self.broken_at is not None:
            return [
                f"The carried state grows until it is not finite, at token {self.broken_at:,} of one stream: "
                f"{self.norm_text()}. {ADVICE}"
            ]
        if self.grows:
            return [f"The carried state grows: {self.norm_text()}; {self.loss_text()}. {ADVICE}"]
        if self.costs:
            return [f"The carried state does harm: {self.loss_text()}. {ADVICE}"]
        return []


def read_carried_state(
    predictor: NetworkPredictor, tokens: TokenFile, eos_id: int, *, state: str = "carry", most: int = PROBED_TOKENS
) -> CarriedState | None:
    """Read the first ``most`` tokens of a text, or under ``document`` of its longest document, once carried and once in
    rows; None where the policy carries no state, or the text is shorter than LEAST.
    """
    if state not in ("carry", "document"):
        return None
    starts = tokens.document_starts if state == "document" else tokens.document_starts[:1]
    lengths = np.diff(starts, append=len(tokens))
    begin = int(starts[lengths.argmax()])
    ids = tokens.ids[begin : begin + min(most, int(lengths.max()))]
    if len(ids) < LEAST:
        return None
    stretch = replace(tokens, ids=ids, document_starts=starts[:1] * 0, documents="file")
    watching = _Watching(predictor)
    carried, _ = scored_losses(watching, stretch, eos_id, EvalOptions(window=WINDOW))
    apart = EvalOptions(rows=ROWS, warmup=0, window=WINDOW, max_passes=0)
    fresh, _ = scored_losses(predictor, stretch, eos_id, apart)
    return CarriedState(np.array(watching.norms), carried, fresh)


class _Watching:
    """A network whose hidden state is measured after each window, in the layer where it is largest."""

    def __init__(self, predictor: NetworkPredictor) -> None:
        self.predictor = predictor
        self.norms: list[float] = []

    @property
    def tolerance(self) -> float:
        return self.predictor.tolerance

    def initial_state(self, batch_size: int) -> State:
        return self.predictor.initial_state(batch_size)

    def reset(self, state: State, rows: Tensor) -> State:
        return self.predictor.reset(state, rows)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return self.predictor.gather(rows)

    def score(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        scores, state = self.predictor.score(tokens, targets, state)
        sizes = torch.stack([layer[0].double().square().mean().sqrt() for layer in state])
        self.norms.append(float(sizes.max()))  # not a number if one of them is none
        return scores, state
