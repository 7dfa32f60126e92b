"""Texts made by a known machine: their entropy is exact, so a model can be held to the truth. One file a machine."""

from lmkit.text.sources.generated.agreement import Agreement
from lmkit.text.sources.generated.alphabet import Alphabet
from lmkit.text.sources.generated.brackets import Brackets
from lmkit.text.sources.generated.copying import Copy
from lmkit.text.sources.generated.counting import Counting
from lmkit.text.sources.generated.generator import Generator
from lmkit.text.sources.generated.grammar import Grammar, Tagged
from lmkit.text.sources.generated.item import Item
from lmkit.text.sources.generated.machine import Machine, Piece
from lmkit.text.sources.generated.markov import Markov
from lmkit.text.sources.generated.opening import GENERATED, GENERATORS, KnownEntropy, known_entropy
from lmkit.text.sources.generated.recall import Recall

__all__ = [
    "GENERATED",
    "GENERATORS",
    "Agreement",
    "Alphabet",
    "Brackets",
    "Copy",
    "Counting",
    "Generator",
    "Grammar",
    "Item",
    "KnownEntropy",
    "Machine",
    "Markov",
    "Piece",
    "Recall",
    "Tagged",
    "known_entropy",
]
