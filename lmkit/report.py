"""Measurements as plain figures, the same ones for people and programs."""

from __future__ import annotations

import math
from typing import Any

from lmkit.session import Measurement

__all__ = ["figures_of"]


def figures_of(measurement: Measurement) -> dict[str, Any]:
    """All figures of a measurement by name, ready for JSON; those that do not exist (no word in the text) are None."""
    result = measurement.evaluation
    figures = {
        "nll_nats": result.nll,
        "tokens": result.tokens,
        "words": result.words,
        "line_ends": result.line_ends,
        "chars": result.chars,
        "bytes": result.bytes,
        "oov_tokens": result.oov,
        "oov_rate": result.oov_rate,
        "nats_per_token": result.nats_per_token,
        "bits_per_token": result.bits_per_token,
        "perplexity": result.perplexity,
        "perplexity_excluding_oov": result.perplexity_excluding_oov,
        "word_perplexity": result.word_perplexity,
        "words_only_perplexity": result.words_only_perplexity,
        "bits_per_char": result.bits_per_char,
        "bits_per_byte": result.bits_per_byte,
    }
    finite: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    how = measurement._asdict()
    del how["evaluation"]
    return {**finite, **how}
