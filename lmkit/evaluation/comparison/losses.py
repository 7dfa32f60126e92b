"""The loss of every token of a text, in the order of the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import FailedError
from lmkit.evaluation.measurement import EVAL_WINDOW, evaluation_windows, rows_read, text_scores
from lmkit.evaluation.predictor import Predictor, Scorer
from lmkit.evaluation.seams import Seams
from lmkit.samplers import IGNORE
from lmkit.text.token_file import TokenFile

__all__ = ["TextLosses", "scored_losses", "token_losses"]

S = TypeVar("S")


class TextLosses(NamedTuple):
    """Negative log-likelihood in nats of every token of a text, (N,), or (..., N) of a scorer of several sets; and what
    became of the seams between rows.
    """

    values: NDArray[np.float64]
    seams: Seams

    def checked(self) -> Self:
        """These losses. Raises FailedError where one is not finite: there is nothing to compare then."""
        wrong = np.argwhere(~np.isfinite(self.values))
        if len(wrong):
            loss, number = self.values[tuple(wrong[0])], wrong[0][-1] + 1
            raise FailedError(f"The loss of token {number:,} of the text is {loss:g}: `lmkit doctor` can say more.")
        return self


def scored_losses(
    scorer: Scorer[S],
    tokens: TokenFile,
    eos_id: int,
    *,
    state: str = "carry",
    rows: int = 1,
    warmup: int = 0,
    window: int = EVAL_WINDOW,
    report: Callable[[float], None] | None = None,
    max_passes: int | None = None,
) -> TextLosses:
    """The losses of a text, finite or not. Each set's sum is the nll of ``measure`` with these options.

    One pass over the text, and in memory are the losses and one window; of rows in a carried stream the losses twice.
    """
    places = dataclasses.replace(tokens, ids=np.arange(len(tokens)))
    read = rows_read(tokens, rows, state, max_passes)
    how: dict[str, Any] = {"state": state, "rows": read, "warmup": warmup, "window": window}
    cut: Any = partial(evaluation_windows, **how)
    scores, seams = text_scores(scorer, tokens, eos_id, report=report, max_passes=max_passes, **how)
    first = next(scores)
    losses = np.full((*first.log_probs.shape[:-2], len(tokens)), np.nan)
    # the same cuts over the tokens' places say which loss belongs where, whatever the order of rows and documents
    for score, place in zip(chain([first], scores), cut(places, 0), strict=True):
        known = place.targets != IGNORE
        losses[..., place.targets[known].numpy()] = -score.log_probs[..., known].double().numpy()
    return TextLosses(losses, seams)


def token_losses(predictor: Predictor[S], tokens: TokenFile, eos_id: int, **how: Any) -> NDArray[np.float64]:
    """Negative log-likelihood in nats of every token, (N,), as ``scored_losses`` gives it, with the same options.

    Raises FailedError where a loss is not finite: there is nothing to compare then.
    """
    return scored_losses(predictor, tokens, eos_id, **how).checked().values
