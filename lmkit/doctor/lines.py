"""Long lines that come twice: inside the training text, and in what the model is to be tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from lmkit.doctor.check import OK, WARNING, Check
from lmkit.text.source import Piece, Slice

__all__ = ["SHORTEST_LINE", "LineCounts", "line_checks", "line_hashes"]

SHORTEST_LINE = 40  # characters: shorter lines (names of speakers, headings) come again in honest texts
MOST_LINES = 1 << 20  # different ones that are kept; with more, a fixed share of them
MANY_DUPLICATES, MUCH_OVERLAP = 0.05, 0.01


class LineCounts:
    """How often each line comes, by hash; in bounded memory.

    When there are too many, only lines whose hash has one more trailing zero bit are kept, all copies of them, so that
    rates stay estimates without bias (distinct sampling, Gibbons 2001).
    """

    def __init__(self, most: int = MOST_LINES) -> None:
        self.most = most
        self.mask = 0
        self.counts: dict[int, int] = {}

    def add(self, line: int) -> None:
        """Count a line."""
        if line & self.mask:
            return
        self.counts[line] = self.counts.get(line, 0) + 1
        while len(self.counts) > self.most:
            self.mask = 2 * self.mask + 1
            self.counts = {known: count for known, count in self.counts.items() if not known & self.mask}

    @property
    def is_estimate(self) -> bool:
        """Whether some lines were left out."""
        return self.mask != 0

    @property
    def duplicate_rate(self) -> float:
        """Share of the lines that came before."""
        total = sum(self.counts.values())
        return 1 - len(self.counts) / total if total else 0.0

    def share_known(self, lines: Iterable[int]) -> tuple[float, int]:
        """Share of other lines that are among these, and how many were looked up."""
        looked_up = known = 0
        for line in lines:
            if not line & self.mask:
                looked_up += 1
                known += line in self.counts
        return (known / looked_up if looked_up else 0.0), looked_up


def line_hashes(pieces: Iterable[Piece], shortest: int = SHORTEST_LINE) -> Iterator[int]:
    """A 64-bit hash of every line of at least so many characters; a line ends with its document, memory is constant."""
    line, length, number = hashlib.blake2b(digest_size=8), 0, -1
    for document, text in pieces:
        parts = text.split("\n")
        for place, part in enumerate(parts):
            if place > 0 or document != number:
                if length >= shortest:
                    yield int.from_bytes(line.digest(), "little")
                line, length, number = hashlib.blake2b(digest_size=8), 0, document
            line.update(part.encode("utf-8"))
            length += len(part)
    if length >= shortest:
        yield int.from_bytes(line.digest(), "little")


def line_checks(slices: Mapping[str, Slice]) -> Iterator[Check]:
    """Duplicates in the training split, and the share of each other split's lines that are in it."""
    train = LineCounts()
    for line in line_hashes(slices["train"].pieces()):
        train.add(line)
    rate = train.duplicate_rate
    about = "about " if train.is_estimate else ""
    figure = f"{about}{rate:.2%} of the training lines of {SHORTEST_LINE} characters or more came before"
    advice = "Repeated text is learnt by heart: remove the copies."
    many = rate > MANY_DUPLICATES
    yield Check("duplicate lines", WARNING if many else OK, figure, rate, (advice,) if many else ())
    for name in slices:
        if name == "train":
            continue
        share, looked_up = train.share_known(line_hashes(slices[name].pieces()))
        figure = f"{about}{share:.2%} of {looked_up:,} {name} lines of {SHORTEST_LINE} characters or more are in train"
        advice = f"The model may know parts of {name} by heart: figures on it flatter."
        much = share > MUCH_OVERLAP
        yield Check(f"overlap of {name} with train", WARNING if much else OK, figure, share, (advice,) if much else ())
