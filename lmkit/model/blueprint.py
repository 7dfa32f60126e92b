"""What a network is made from: enough to make it, and to know what a file of its weights must hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from lmkit.config import ModelConfig
from lmkit.model.classifier import Classifier
from lmkit.model.encoder import Encoder
from lmkit.model.language_model import LanguageModel
from lmkit.model.shapes import shapes_of, without_memory

__all__ = ["Blueprint", "ClassifierBlueprint", "LanguageBlueprint"]

N = TypeVar("N", bound=Encoder, covariant=True)


@dataclass(frozen=True)
class Blueprint(ABC, Generic[N]):
    """The configuration of a network, and the size V of the vocabulary that it reads."""

    model: ModelConfig
    vocab_size: int

    @abstractmethod
    def make(self, order: Tensor | None = None) -> N:
        """A new network, its weights drawn. order: (V,) ids by falling frequency, where its head has them stored."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its stored tensors by their names, known without memory for it."""
        return shapes_of(without_memory(self.make))


@dataclass(frozen=True)
class LanguageBlueprint(Blueprint[LanguageModel]):
    """Of a language model."""

    def make(self, order: Tensor | None = None) -> LanguageModel:
        return LanguageModel(self.model, self.vocab_size, order)


@dataclass(frozen=True)
class ClassifierBlueprint(Blueprint[Classifier]):
    """Of a classifier: the number of its classes, its pooling, the steps of a window that it reads, and whether each
    window begins anew.
    """

    num_classes: int
    pooling: str
    window: int
    resets: bool

    def make(self, order: Tensor | None = None) -> Classifier:
        shape = (self.num_classes, self.pooling, self.window)
        return Classifier(self.model, self.vocab_size, *shape, resets=self.resets)
