"""The loss of every token of a text, in the order of the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmkit.errors import FailedError
from lmkit.evaluation.measurement import EVAL_WINDOW, evaluation_windows, watched
from lmkit.evaluation.perplexity import token_scores
from lmkit.evaluation.predictor import Predictor, Scorer
from lmkit.samplers import IGNORE
from lmkit.text.token_file import TokenFile

__all__ = ["scored_losses", "token_losses"]

S = TypeVar("S")


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
) -> NDArray[np.float64]:
    """Negative log-likelihood in nats of every token, (..., N) for a scorer that gives (..., B, T); finite or not.

    One pass over the text, and in memory are the losses and one window. Each set's sum is the nll of ``measure`` with
    these options.
    """
    places = dataclasses.replace(tokens, ids=np.arange(len(tokens)))
    cut = partial(evaluation_windows, state=state, rows=rows, warmup=warmup, window=window)
    scores = token_scores(scorer, watched(cut(tokens, eos_id), len(tokens), report))
    first = next(scores)
    losses = np.full((*first.log_probs.shape[:-2], len(tokens)), np.nan)
    # the same cuts over the tokens' places say which loss belongs where, whatever the order of rows and documents
    for score, place in zip(chain([first], scores), cut(places, 0), strict=True):
        known = place.targets != IGNORE
        losses[..., place.targets[known].numpy()] = -score.log_probs[..., known].double().numpy()
    return losses


def token_losses(predictor: Predictor[S], tokens: TokenFile, eos_id: int, **how: Any) -> NDArray[np.float64]:
    """Negative log-likelihood in nats of every token, (N,), as ``scored_losses`` gives it, with the same options.

    Raises FailedError where a loss is not finite: there is nothing to compare then.
    """
    losses = scored_losses(predictor, tokens, eos_id, **how)
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        raise FailedError(
            f"The loss of token {wrong[0] + 1:,} of the text is {losses[wrong[0]]:g}: `lmkit doctor` can say more."
        )
    return losses
