"""Texts of a chosen length."""

from __future__ import annotations

from lmkit.errors import DataError
from lmkit.experiments.contract.arm import file_name
from lmkit.experiments.contract.trial import Trial
from lmkit.files import is_file, write_atomically
from lmkit.text.sources.opening import local_path, open_source
from lmkit.text.sources.source import pieces

__all__ = ["beginning", "characters_of"]


def beginning(trial: Trial, corpus: str, characters: int) -> str:
    """The first characters of a corpus as a text file that all runs of an experiment share; its path.

    Raises DataError where the corpus is shorter.
    """
    local = local_path(corpus)
    path = trial.shared / f"{file_name(corpus if local is None else local.stem)}-{characters}.txt"
    if not is_file(path):
        text = characters_of(corpus, characters)
        trial.shared.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return str(path)


def characters_of(corpus: str, characters: int) -> str:
    """The first characters of a corpus. Raises DataError where it is shorter."""
    with open_source(corpus) as source:
        documents = [document for part in source.parts.values() for document in part]
        text = "".join(piece for _, piece in pieces(documents, 0, characters))
    if len(text) < characters:
        raise DataError(f"{corpus} has {len(text):,} characters, and {characters:,} are needed: give a longer text.")
    return text
