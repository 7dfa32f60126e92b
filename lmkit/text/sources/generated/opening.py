"""The table of the generators, and from a name after ``--corpus`` to a Source or what is known of its text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lmkit.errors import CorpusError
from lmkit.text.sources.generated.brackets import Brackets
from lmkit.text.sources.generated.copying import Copy
from lmkit.text.sources.generated.generator import Generator
from lmkit.text.sources.generated.markov import Markov
from lmkit.text.sources.source import WHOLE, Document, Source

__all__ = ["GENERATED", "GENERATORS", "KnownEntropy", "known_entropy"]

DEFAULT_LENGTH = 200_000
LONGEST = 10**12

GENERATORS: dict[str, Generator] = {"markov": Markov(), "brackets": Brackets(), "copy": Copy()}


class KnownEntropy(NamedTuple):
    """What is known of a generated text: the entropy rate of the machine in nats per character, and the nats that the
    machine itself gives the text.
    """

    rate: float
    nll: float


def known_entropy(corpus: str, begin: int, end: int) -> KnownEntropy | None:
    """Of the characters begin..end of a corpus, named as for ``open_source``; None where it is unknown."""
    generator = GENERATORS.get(corpus.partition(":")[0])
    return None if generator is None else KnownEntropy(generator.entropy_rate, generator.nll_between(begin, end))


def open_generated(name: str, setting: str = "") -> Source:
    """A generated text as one document; ``setting`` is its length in characters."""
    length = DEFAULT_LENGTH if not setting else int(setting[:20]) if setting.isascii() and setting.isdigit() else 0
    if not 1 <= length <= LONGEST:
        raise CorpusError(
            f"{name}:{setting} must give a whole number of characters up to {LONGEST:,}, as in {name}:100000."
        )
    generator = GENERATORS[name]
    document = Document(f"{name}:{length}", partial(generator.chunks, length))
    info = {"entropy_rate_nats_per_char": generator.entropy_rate}
    return Source(name, f"{length} generated characters", {WHOLE: [document]}, info=info)


GENERATED: dict[str, Callable[[str], Source]] = {name: partial(open_generated, name) for name in GENERATORS}
