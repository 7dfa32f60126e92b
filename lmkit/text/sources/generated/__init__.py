"""Texts made by a known machine: their entropy is exact, so a model can be held to the truth. One file a machine."""

from lmkit.text.sources.generated.brackets import Brackets
from lmkit.text.sources.generated.copying import Copy
from lmkit.text.sources.generated.generator import Generator
from lmkit.text.sources.generated.markov import Markov
from lmkit.text.sources.generated.opening import GENERATED, GENERATORS, KnownEntropy, known_entropy

__all__ = ["GENERATED", "GENERATORS", "Brackets", "Copy", "Generator", "KnownEntropy", "Markov", "known_entropy"]
