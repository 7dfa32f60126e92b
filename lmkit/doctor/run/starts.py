"""Checks of starts in mid-text: whether a model that begins with a state of zero forgets where it began, and whether
rows give the loss of the one stream whatever it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmkit.doctor.check import OK, SKIPPED, WARNING, Check, judged
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.perplexity import token_scores
from lmkit.evaluation.predictor import Predictor
from lmkit.evaluation.seams import row_scores
from lmkit.samplers import IGNORE, Window, stream_windows

__all__ = ["LEAST", "check_starts"]

S = TypeVar("S")
STARTS, ROWS = 64, 16
PROBED_TOKENS = 4096
HEAD, SCORED = 256, 256  # tokens after which a start is judged, and by how many
LEAST = 2 * (HEAD + SCORED)
WINDOW = 128
OFF = 0.05  # nats per token
IN_TEXT, AFTER_EOS, AS_ROWS = "starts in mid-text", "starts with <eos>", "rows = one stream"


def check_starts(predictor: Predictor[S], ids: NDArray[np.int64], eos_id: int) -> Iterator[Check]:
    """Starts from many positions of a stream beside the stream that was read from its beginning, and rows of it."""
    ids = np.asarray(ids[:PROBED_TOKENS], dtype=np.int64)
    if len(ids) < LEAST:
        for name in (IN_TEXT, AFTER_EOS, AS_ROWS):
            yield Check(name, SKIPPED, f"needs the training text, and {LEAST:,} tokens of it")
        return
    one = _losses(predictor, ids, eos_id)
    positions = np.linspace(1, len(ids) - HEAD - SCORED, STARTS).astype(np.int64)
    advice = "The state takes longer to recover: a text that is cut is predicted worse after each cut. "
    yield _judged(IN_TEXT, _excesses(predictor, ids, one, positions, None), advice + "Rows are repaired.")
    advice = "A new text after <eos> is predicted worse for hundreds of tokens than the middle of a text."
    yield _judged(AFTER_EOS, _excesses(predictor, ids, one, positions, eos_id), advice)
    windows = stream_windows(ids, eos_id=eos_id, window=WINDOW, rows=ROWS)
    options = EvalOptions(window=WINDOW, rows=ROWS, warmup=0)
    scores, seams = row_scores(predictor, windows, ids, options, eos_id=eos_id)
    rows = -sum(float(part.log_probs.double().sum()) for part in scores) / len(ids)
    error = abs(rows - float(one.mean()))
    check = judged(
        AS_ROWS, error, predictor.tolerance, " nats", "The loss of rows is not that of the stream: use --rows 1."
    )
    yield Check(check.name, check.status, f"{check.finding}; {seams.repaired} repaired", check.value, check.advice)


def _losses(predictor: Predictor[S], ids: NDArray[np.int64], eos_id: int) -> Tensor:
    """Of every token of the one stream, (N,)."""
    windows = stream_windows(ids, eos_id=eos_id, window=WINDOW)
    return -torch.cat([part.log_probs[0].double() for part in token_scores(predictor, windows)])


def _excesses(
    predictor: Predictor[S], ids: NDArray[np.int64], one: Tensor, positions: NDArray[np.int64], first: int | None
) -> Tensor:
    """How many nats per token starts (B,) at the given positions cost beyond the one stream, once they have read HEAD
    tokens. Their first input is ``first``, or the token before.
    """
    tokens = torch.from_numpy(np.stack([ids[at - 1 : at + HEAD + SCORED] for at in positions.tolist()]))
    inputs, targets = tokens[:, :-1].clone(), tokens[:, 1:].clone()
    if first is not None:
        inputs[:, 0] = first
    targets[:, :HEAD] = IGNORE
    fresh = torch.arange(len(positions)) >= 0
    windows = (
        Window(inputs[:, at : at + WINDOW], targets[:, at : at + WINDOW], fresh & (at == 0), WINDOW)
        for at in range(0, HEAD + SCORED, WINDOW)
    )
    losses = -torch.cat([part.log_probs.double() for part in token_scores(predictor, windows)], dim=1)[:, HEAD:]
    whole = torch.stack([one[at + HEAD : at + HEAD + SCORED] for at in positions.tolist()])
    return (losses - whole).mean(dim=1)


def _judged(name: str, excesses: Tensor, advice: str) -> Check:
    """Differences to either side count: a better start is as far from the stream as a worse one."""
    off = int((~(excesses.abs() <= OFF)).sum())  # what is no number counts, too
    worst = float(excesses.abs().max())
    finding = (
        f"{off} of {len(excesses)} are off by more than {OFF} nats a token after {HEAD} tokens, at most {worst:.2g}"
    )
    return Check(name, WARNING if off else OK, finding, off, (advice,) if off else ())
