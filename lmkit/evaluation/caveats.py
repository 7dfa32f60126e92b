"""Caveats: what a reader must know before comparing a result, as sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lmkit.evaluation.perplexity import Evaluation

__all__ = ["MUCH_UNKNOWN", "caveats", "guessing_caveat", "state_caveat", "unknown_words", "worse_than_guessing"]

MUCH_UNKNOWN = 0.02  # share of the tokens
READ_AS = {
    "carry": "the whole text is read as one stream, which training did not do, and the loss can be lower or higher",
    **{
        state: f"each {unit} is read without the text before it, which usually raises the loss"
        for state, unit in (("reset", "window"), ("document", "document"), ("line", "line"))
    },
}


def caveats(result: Evaluation, vocab_size: int) -> Iterator[str]:
    """Those of an evaluation with the counts of its text."""
    if reason := result.not_finite():
        yield reason
    elif worse_than_guessing(result, vocab_size):
        yield guessing_caveat(result, vocab_size)
    if result.unknown_rate > MUCH_UNKNOWN:
        yield unknown_words(result.unknown, result.tokens)


def guessing_caveat(result: Evaluation, vocab_size: int) -> str:
    """What a figure is worth that equal probabilities for all tokens would beat."""
    return (
        f"{result.nats_per_token:.4g} nats per token are worse than guessing: to give each of the {vocab_size:,} "
        f"tokens the same probability costs {math.log(vocab_size):.4g}."
    )


def worse_than_guessing(result: Evaluation, vocab_size: int) -> bool:
    """Whether equal probabilities for all tokens would do better, or the loss is not finite."""
    return result.tokens > 0 and not result.nats_per_token <= math.log(vocab_size)


def unknown_words(unknown: int, tokens: int) -> str:
    """What it means that ``unknown`` of the tokens became ``<unk>`` by the vocabulary."""
    return (
        f"{unknown:,} of {tokens:,} tokens ({unknown / tokens:.1%}) became <unk>, because the vocabulary lacks them. "
        "One probability stands for all of them, so the perplexity is lower than that of a model that tells them "
        "apart: compare it only with models of the same vocabulary."
    )


def state_caveat(trained: str, state: str, window: int | None = None) -> str:
    """What it means for a loss that a text is read under another state policy than the model was trained with."""
    shown = f"{state}, window {window}" if state == "reset" and window else state
    return (
        f"The model was trained with state {trained}; this is state {shown}: {READ_AS[state]}. Compare it only with "
        f"figures of state {state}."
    )
