"""The registry of corpora."""

import re

from lmkit.text import load_registry
from lmkit.text.sources.builtin import BUILT_IN
from lmkit.text.sources.generated import GENERATED, GENERATORS


def test_every_entry_is_complete_and_of_a_known_kind():
    for name, entry in load_registry().items():
        assert entry.name == name
        assert entry.title and entry.description and entry.licence
        assert entry.kind in ("built-in", "generated", "datasets")
        assert entry.size > 0
        assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)


def test_what_can_be_opened_is_what_is_listed():
    kinds = {name: entry.kind for name, entry in load_registry().items()}
    assert {name for name, kind in kinds.items() if kind == "built-in"} == set(BUILT_IN)
    assert {name for name, kind in kinds.items() if kind == "generated"} == set(GENERATED)


def test_the_checksums_are_those_of_the_generated_texts():
    import hashlib

    for name, generator in GENERATORS.items():
        entry = load_registry()[name]
        text = generator.sample(entry.size)
        assert hashlib.sha256(text.encode()).hexdigest() == entry.sha256
