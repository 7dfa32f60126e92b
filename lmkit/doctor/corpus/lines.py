"""Long lines that come twice: inside the training text, and in what the model is to be tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lmkit.doctor.check import OK, WARNING, Check
from lmkit.text.lines import MANY_DUPLICATES, MUCH_OVERLAP, SHORTEST_LINE, LineCounts
from lmkit.text.sources.source import Slice
from lmkit.text.traits import MEMORISED

__all__ = ["line_checks"]


def line_checks(slices: Mapping[str, Slice]) -> Iterator[Check]:
    """Duplicates in the training split, and the share of each other split's lines that are in it."""
    train = LineCounts.of(slices["train"].encoded())
    rate = train.duplicate_rate
    about = "about " if train.is_estimate else ""
    finding = f"{about}{rate:.2%} of the training lines of {SHORTEST_LINE} characters or more are repeated"
    many = rate > MANY_DUPLICATES
    yield Check("duplicate lines", WARNING if many else OK, finding, rate, (MEMORISED,) if many else ())
    for name in slices:
        if name == "train":
            continue
        share, looked_up = train.share_known(slices[name].encoded())
        finding = f"{about}{share:.2%} of {looked_up:,} {name} lines of {SHORTEST_LINE} characters or more are in train"
        advice = f"The model may have memorised parts of {name}: results on it are too good."
        much = share > MUCH_OVERLAP
        yield Check(f"overlap of {name} with train", WARNING if much else OK, finding, share, (advice,) if much else ())
