"""The table of the generators, and from a name after ``--corpus`` to a Source or what is known of its text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lmkit.errors import CorpusError
from lmkit.text.sources.generated.agreement import Agreement
from lmkit.text.sources.generated.alphabet import Alphabet
from lmkit.text.sources.generated.brackets import Brackets
from lmkit.text.sources.generated.copying import Copy
from lmkit.text.sources.generated.counting import Counting
from lmkit.text.sources.generated.generator import Generator, whole_number
from lmkit.text.sources.generated.grammar import Grammar
from lmkit.text.sources.generated.markov import Markov
from lmkit.text.sources.generated.recall import Recall
from lmkit.text.sources.source import WHOLE, Document, Source

__all__ = ["GENERATED", "GENERATORS", "KnownEntropy", "Named", "known_entropy", "parse_name"]

DEFAULT_LENGTH = 200_000
LONGEST = 10**12

GENERATORS: dict[str, Generator] = {
    "markov": Markov(),
    "brackets": Brackets(),
    "copy": Copy(),
    "recall": Recall(),
    "alphabet": Alphabet(),
    "anbn": Counting(),
    "agreement": Agreement(),
    "grammar": Grammar(),
}


class Named(NamedTuple):
    """A machine and how many characters of its text are meant."""

    generator: Generator
    length: int


class KnownEntropy(NamedTuple):
    """What is known of a generated text: the entropy rate of the machine in nats per character, and the nats that the
    machine itself gives the text.
    """

    rate: float
    nll: float


def known_entropy(corpus: str, begin: int, end: int) -> KnownEntropy | None:
    """Of the characters begin..end of a corpus, named as for ``open_source``; None where it is unknown."""
    if corpus.partition(":")[0] not in GENERATORS:
        return None
    generator = parse_name(corpus).generator
    return KnownEntropy(generator.entropy_rate, generator.nll_between(begin, end))


def parse_name(corpus: str) -> Named:
    """What ``NAME``, ``NAME:SETTING`` or ``NAME:SETTING:LENGTH`` stands for, without ``SETTING`` where a machine takes
    none. Raises CorpusError.
    """
    name, _, rest = corpus.partition(":")
    generator: Generator | None = GENERATORS[name]
    if generator is not None and generator.takes and rest:
        setting, _, rest = rest.partition(":")
        generator = generator.with_setting(setting)
    length = whole_number(rest, LONGEST) if rest else DEFAULT_LENGTH
    if generator is None or length is None:
        raise CorpusError(_must_give(name, corpus))
    if length < generator.longest_line:
        raise CorpusError(
            f"{_short(corpus)} has lines of up to {generator.longest_line:,} characters: ask for a longer text, as in "
            f"{name}:{generator.setting}:{100 * generator.longest_line}."
        )
    return Named(generator, length)


def open_generated(name: str, setting: str = "") -> Source:
    """A generated text as one document; ``setting`` is the machine's own, where it has one, and the length in
    characters.
    """
    generator, length = parse_name(f"{name}:{setting}")
    own = f"{name}:{generator.setting}" if generator.takes else name
    document = Document(f"{own}:{length}", partial(generator.chunks, length))
    info = {"entropy_rate_nats_per_char": generator.entropy_rate}
    return Source(name, f"{length} generated characters", {WHOLE: [document]}, info=info)


GENERATED: dict[str, Callable[[str], Source]] = {name: partial(open_generated, name) for name in GENERATORS}


def _must_give(name: str, corpus: str) -> str:
    """What is wrong with the name of a generated text."""
    default, length = GENERATORS[name], f"a whole number of characters up to {LONGEST:,}"
    if not default.takes:
        return f"{_short(corpus)} must give {length}, as in {name}:100000."
    example = f"{name}:{default.setting}:100000"
    return f"{_short(corpus)} must give {default.takes}; then, if you wish, {length}, as in {example}."


def _short(corpus: str) -> str:
    return corpus if len(corpus) <= 60 else corpus[:57] + "..."
