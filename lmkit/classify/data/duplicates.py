"""Texts of a test file that stand in the training file too: what a classifier may know by heart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.data.labelled import LabelledTexts

__all__ = ["seen_before"]


def seen_before(texts: LabelledTexts, training: LabelledTexts) -> NDArray[np.bool_]:
    """Which of N texts stand in the training texts, whatever their label, (N,). White space at the ends and its amount
    between words make no other text.
    """
    known = {_normal(text) for text in training.texts}
    return np.array([_normal(text) in known for text in texts.texts], dtype=bool)


def _normal(text: str) -> str:
    return " ".join(text.split())
