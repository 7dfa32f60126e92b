"""The rule of the experiment on how much text a network needs, on outcomes that nobody has measured."""

from __future__ import annotations

import pytest

from lmkit.experiments.studies.cells.data_size import BITS, DataSize

SEEDS = (-2, -1, 0, 1, 2)


@pytest.mark.parametrize(("between", "word"), [(10.0, "holds"), (0.0, "partly")])
def test_all_comparisons_are_one_family(invent, between, word):
    """The LSTM gains 1 more than the others with p 0.015: enough beside eight clear comparisons, not beside four."""

    def values(arm: str) -> list[dict[str, float]]:
        kind, _, size = arm.partition(", ")
        behind = {"10,000": 10.0, "2,000,000": 11.0}.get(size, between)
        spread = 0.345 if (kind, size) == ("lstm", "10,000") else 0.01 if kind.startswith("other") else 0.0
        found = [{BITS: 3.0 + (behind if kind in ("transformer", "n-gram") else 0.0) + spread * one} for one in SEEDS]
        return found[2:3] if kind == "n-gram" else found

    order, need = DataSize().judge(invent(DataSize(), values))
    assert need.word == word
    assert order.word == "undecided"
