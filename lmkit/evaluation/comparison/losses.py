"""The loss of every token of a text, in the order of the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import FailedError
from lmkit.evaluation.measurement import evaluation_windows, text_scores, with_rows_read
from lmkit.evaluation.options import DEFAULTS, EvalOptions
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
    options: EvalOptions = DEFAULTS,
    *,
    report: Callable[[float], None] | None = None,
) -> TextLosses:
    """The losses of a text, finite or not. Each set's sum is the nll of ``measure`` with the same options.

    One pass over the text, and in memory are the losses and one window; of rows in a carried stream the losses twice.
    """
    options = with_rows_read(options, tokens)
    scores, seams = text_scores(scorer, tokens, eos_id, options, report=report)
    first = next(scores)
    losses = np.full((*first.log_probs.shape[:-2], len(tokens)), np.nan)
    # the same cuts over the tokens' positions say which loss belongs where, whatever the order of rows and documents
    numbered = dataclasses.replace(tokens, ids=np.arange(len(tokens)))
    positions = (window.targets for window in evaluation_windows(numbered, 0, options))
    for score, position in zip(chain([first], scores), positions, strict=True):
        known = position != IGNORE
        losses[..., position[known].numpy()] = -score.log_probs[..., known].double().numpy()
    return TextLosses(losses, seams)


def token_losses(
    predictor: Predictor[S], tokens: TokenFile, eos_id: int, options: EvalOptions = DEFAULTS
) -> NDArray[np.float64]:
    """Negative log-likelihood in nats of every token, (N,), as ``scored_losses`` gives it.

    Raises FailedError where a loss is not finite: there is nothing to compare then.
    """
    return scored_losses(predictor, tokens, eos_id, options).checked().values
