"""Naive Bayes: the classes of texts from counts of words and pairs of words. Is a network better than counting?"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmkit.classify.data.labelled import LabelledTexts
from lmkit.classify.prefixes import Prefixes

__all__ = ["NaiveBayes"]

Floats = NDArray[np.float64]
PSEUDO_COUNT = 1.0  # Laplace's: each feature was seen once more in each class than it was


@dataclass(frozen=True, eq=False)
class NaiveBayes:
    """A multinomial naive Bayes classifier over words and pairs of neighbouring words, each counted once a text.

    Words are what stands between white space, in lower case. Counting presence instead of frequency suits short texts
    (Wang & Manning 2012, "Baselines and Bigrams"), and every count is raised by one, Laplace's rule. A word that
    training did not have says nothing.

    log_prior: (C,); log_likelihood: (V, C), of each feature in each class.
    """

    classes: tuple[str, ...]
    features: Mapping[str, int]
    log_prior: Floats
    log_likelihood: Floats

    @classmethod
    def train(cls, data: LabelledTexts, pseudo_count: float = PSEUDO_COUNT) -> NaiveBayes:
        """The classifier of some labelled texts."""
        features: dict[str, int] = {}
        ids, labels = array("q"), array("q")
        for text, label in zip(data.texts, data.labels.tolist(), strict=True):
            found = [features.setdefault(feature, len(features)) for feature in _features(text)]
            ids.extend(found)
            labels.extend([label] * len(found))
        likelihood = np.full((len(features), len(data.classes)), pseudo_count)
        np.add.at(likelihood, (np.asarray(ids), np.asarray(labels)), 1.0)
        likelihood /= likelihood.sum(0)
        np.log(likelihood, out=likelihood)
        prior = np.log((data.counts + pseudo_count) / (len(data) + pseudo_count * len(data.classes)))
        return cls(data.classes, features, prior, likelihood)

    def classify(self, texts: Sequence[str]) -> Floats:
        """Log-probabilities (N, C) in nats."""
        joint = np.array([self._joint(text) for text in texts]).reshape(len(texts), len(self.classes))
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)

    def classify_prefixes(self, text: str) -> Prefixes:
        """The same for the text up to the end of each word."""
        words = list(re.finditer(r"\S+", text))
        prefixes = [text[: word.end()] for word in words]
        return Prefixes(tuple(word[0] for word in words), self.classify(prefixes))

    def _joint(self, text: str) -> Floats:
        known = [self.features[feature] for feature in _features(text) if feature in self.features]
        joint: Floats = self.log_prior + self.log_likelihood[known].sum(0)
        return joint


def _features(text: str) -> dict[str, None]:
    """The different words and pairs of words of a text, in the order in which they come."""
    words = text.lower().split()
    return dict.fromkeys([*words, *_pairs(words)])


def _pairs(words: Sequence[str]) -> Iterator[str]:
    return (f"{first} {second}" for first, second in pairwise(words))
