"""Perplexity and its relatives: every token scored once, sums and counts until the last line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from lmkit.evaluation.predictor import Predictor, Scorer, Stateful
from lmkit.samplers import IGNORE, Window

__all__ = ["Evaluation", "TokenScores", "begin", "evaluate", "evaluation_of", "score_window", "token_scores"]

S = TypeVar("S")
LN2 = math.log(2.0)
NO_DETAILS: Mapping[str, Tensor] = MappingProxyType({})


class TokenScores(NamedTuple):
    """A window with its scores: log_probs (B, T) in nats, 0 where a target is IGNORE; (..., B, T) of a scorer that
    computes several sets. details: what else the predictions say, by name, (B, T) or (B, T, k).
    """

    window: Window
    log_probs: Tensor
    details: Mapping[str, Tensor] = NO_DETAILS

    @property
    def targets(self) -> Tensor:
        """The window's targets (B, T), IGNORE where there is none."""
        return self.window.targets


def begin(reader: Stateful[S], window: Window, state: S | None) -> S:
    """The state that a window is read with, from the one after the window before it: None before the first."""
    if state is None:
        return reader.initial_state(len(window.reset))
    return reader.reset(state, window.reset) if bool(window.reset.any()) else state


def score_window(scorer: Scorer[S], window: Window, state: S | None) -> tuple[TokenScores, S]:
    """The scores of a window and the state after it; ``state`` is the one after the window before, None at first."""
    log_probs, state = scorer.score(window.inputs, window.targets, begin(scorer, window, state))
    return TokenScores(window, log_probs.cpu()), state


def token_scores(scorer: Scorer[S], windows: Iterable[Window]) -> Iterator[TokenScores]:
    """Score window after window, carrying the state: the one path that evaluation, scoring and comparison fold over."""
    state: S | None = None
    for window in windows:
        scores, after = score_window(scorer, window, state)
        yield scores
        state = after


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a text, as sums and counts that add up.

    nll: negative log-likelihood in nats, a sum over ``tokens`` targets. oov_nll, oov: the part of it that fell on
    ``<unk>``; oov_written: those of them that the text itself holds. words: words separated by white space; line_ends,
    chars (code points) and bytes (UTF-8) count the original text. seams_repaired, seams_open: of the rows of a carried
    stream, those whose log-probabilities were corrected by reading on from the row before, and those that were not
    proven to follow it.
    """

    nll: float = 0.0
    tokens: int = 0
    oov_nll: float = 0.0
    oov: int = 0
    words: int = 0
    line_ends: int = 0
    chars: int = 0
    bytes: int = 0
    oov_written: int = 0
    seams_repaired: int = 0
    seams_open: int = 0

    def __add__(self, other: Evaluation) -> Evaluation:
        names = [item.name for item in dataclasses.fields(self)]
        return Evaluation(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def __repr__(self) -> str:
        facts = [f"perplexity {self.perplexity:.4g}", f"{self.nats_per_token:.4f} nats per token"]
        facts += [f"{self.bits_per_char:.4f} bits per character"] if self.chars else []
        facts += [f"{self.tokens:,} tokens", f"{self.oov:,} of them <unk>"]
        return f"<Evaluation: {', '.join(facts)}>"

    @property
    def nats_per_token(self) -> float:
        """Mean negative log-likelihood of a token in nats: what training reports as its loss."""
        return _ratio(self.nll, self.tokens)

    @property
    def nats_per_target(self) -> float:
        """The same by the name that the evaluations of all kinds of training have."""
        return self.nats_per_token

    @property
    def rank(self) -> tuple[float, ...]:
        """What makes one language model better than another, the lower the better."""
        return (self.nats_per_token,)

    def not_finite(self) -> str | None:
        """Why the perplexity is no finite number, None where it is."""
        if math.isnan(self.nll):
            return "The loss is not a number, and neither is any metric that follows from it."
        if math.isinf(self.nll):
            return "The loss is infinite: a token of the text has no probability at all."
        if math.isinf(self.perplexity):
            return f"The perplexity is too large for a number: exp({self.nats_per_token:.4g})."
        return None

    def logged(self) -> dict[str, Any]:
        """What metrics.jsonl holds of it; where it is not finite, with the reason."""
        reason = self.not_finite()
        return {
            "nll": self.nll,
            "tokens_scored": self.tokens,
            "nats_per_token": self.nats_per_token,
            "perplexity": self.perplexity,
            **({"not_finite": reason} if reason else {}),
            **({"seams_open": self.seams_open} if self.seams_open else {}),
        }

    @property
    def bits_per_token(self) -> float:
        """Mean negative log-likelihood of a token in bits."""
        return self.nats_per_token / LN2

    @property
    def perplexity(self) -> float:
        """exp(nll / tokens), ``<unk>`` and ``<eos>`` included."""
        return _exp(self.nats_per_token)

    @property
    def perplexity_excluding_oov(self) -> float:
        """Perplexity of the tokens that are not ``<unk>``."""
        return _exp(_ratio(self.nll - self.oov_nll, self.tokens - self.oov))

    @property
    def word_perplexity(self) -> float:
        """exp(nll / (words + line ends)): comparable between tokenizers that lose nothing."""
        return _exp(_ratio(self.nll, self.words + self.line_ends))

    @property
    def words_only_perplexity(self) -> float:
        """exp(nll / words): line ends are predicted but not counted."""
        return _exp(_ratio(self.nll, self.words))

    @property
    def bits_per_char(self) -> float:
        """Bits per code point of the original text."""
        return _ratio(self.nll, self.chars) / LN2

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the original text."""
        return _ratio(self.nll, self.bytes) / LN2

    @property
    def unknown(self) -> int:
        """Tokens that became ``<unk>`` because the vocabulary lacks them."""
        return max(0, self.oov - self.oov_written)

    @property
    def unknown_rate(self) -> float:
        """Their share of the tokens."""
        return _ratio(self.unknown, self.tokens)

    @property
    def oov_rate(self) -> float:
        """Share of the tokens that are ``<unk>``."""
        return _ratio(self.oov, self.tokens)


def evaluate(predictor: Predictor[S], windows: Iterable[Window], unk_id: int | None = None) -> Evaluation:
    """Sum the scores of all windows in float64. Counts of words, characters and bytes are the caller's to add."""
    return evaluation_of(token_scores(predictor, windows), unk_id)


def evaluation_of(scores: Iterable[TokenScores], unk_id: int | None = None) -> Evaluation:
    """The sums and counts of scores that were made already."""
    nll = torch.zeros((), dtype=torch.float64)
    oov_nll = torch.zeros((), dtype=torch.float64)
    tokens = oov = 0
    for window in scores:
        nll -= window.log_probs.double().sum()
        tokens += int((window.targets != IGNORE).sum())
        if unk_id is not None:
            unknown = window.targets == unk_id
            oov += int(unknown.sum())
            oov_nll -= window.log_probs.double()[unknown].sum()
    return Evaluation(nll=float(nll), tokens=tokens, oov_nll=float(oov_nll), oov=oov)


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan


def _exp(value: float) -> float:
    return math.inf if value > 709 else math.exp(value)  # not a number stays so
