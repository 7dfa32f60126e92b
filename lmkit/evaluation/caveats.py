"""Caveats: what a reader must know before comparing a figure, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from lmkit.evaluation.perplexity import Evaluation

__all__ = ["MUCH_UNKNOWN", "caveats", "unknown_words"]

MUCH_UNKNOWN = 0.02  # share of the tokens


def caveats(result: Evaluation) -> Iterator[str]:
    """Those of an evaluation with the counts of its text."""
    if result.unknown_rate > MUCH_UNKNOWN:
        yield unknown_words(result.unknown, result.tokens)


def unknown_words(unknown: int, tokens: int) -> str:
    """What it means that ``unknown`` of the tokens became ``<unk>`` by the vocabulary."""
    return (
        f"{unknown:,} of {tokens:,} tokens ({unknown / tokens:.1%}) became <unk>, because the vocabulary lacks them. "
        "One probability stands for all of them, so the figures are lower than those of a model that tells them apart: "
        "compare them only with models of the same vocabulary."
    )
