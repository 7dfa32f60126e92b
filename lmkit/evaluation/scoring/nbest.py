"""N-best lists rescored: each hypothesis gets a share of the model's log-probability, and those of an id are sorted
anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lmkit.distributed.world import ALONE, World
from lmkit.errors import DataError
from lmkit.evaluation.predictor import Predictor
from lmkit.evaluation.scoring.lines import ScoredLine, scored_lines
from lmkit.evaluation.scoring.scoring import score_text
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["Hypothesis", "Rescored", "read_nbest", "reorder", "rescore"]

LINES_AT_ONCE = 1 << 10
LONGEST_LIST = 1 << 27  # characters
BARS = "|||"


class Hypothesis(NamedTuple):
    """A line of an n-best list: which input it belongs to, its score so far (higher is better), and its text."""

    id: str
    score: float
    text: str


class Rescored(NamedTuple):
    """A hypothesis with its new score, ``score + weight * log_prob``; log_prob in nats over ``tokens``, the line end
    included; rests_on_unk: as ``ScoredLine``'s.
    """

    hypothesis: Hypothesis
    total: float
    log_prob: float
    tokens: int
    rests_on_unk: bool = False


def read_nbest(chunks: Iterable[str], name: str) -> list[Hypothesis]:
    """Read lines ``id score text`` with a tab or ``|||`` between them; blank lines are skipped and the text may be
    empty.

    The whole list is read before anything is scored, so that a mistake is reported first. Raises DataError with the
    line's number where a field is missing or the score is not a number, and where there is no line or far too much.
    """
    lines = _held(chunks, name).split("\n")
    found = [
        _hypothesis(line.removesuffix("\r"), f"{name}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not found:
        raise DataError(f"{name} is empty: there is nothing to rescore.")
    return found


def _held(chunks: Iterable[str], name: str) -> str:
    """The whole list; a small compressed file can hold more than fits the memory."""
    parts, length = [], 0
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length > LONGEST_LIST:
            raise DataError(f"{name} has more than {LONGEST_LIST:,} characters: rescore it in parts.")
    return "".join(parts)


def _hypothesis(line: str, where: str) -> Hypothesis:
    tab, bars = line.find("\t"), line.find(BARS)
    separator = "\t" if bars < 0 or 0 <= tab < bars else BARS
    fields = line.split(separator, 2)
    if len(fields) < 2:
        raise DataError(f"{where}: expected id, score and text with a tab or ||| between them, not {line[:80]!r}.")
    try:
        score = math.nan if "_" in fields[1] else float(fields[1])  # 1_000 is a number for Python alone
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise DataError(f"{where}: the score {fields[1].strip()[:80]!r} is not a number; expected id, score and text.")
    text = fields[2] if len(fields) > 2 else ""
    return Hypothesis(fields[0].strip(), score, text if separator == "\t" else text.strip(" "))


def rescore(
    predictor: Predictor[Any],
    tokenizer: Tokenizer,
    hypotheses: Sequence[Hypothesis],
    weight: float,
    report: Callable[[float], None] | None = None,
    world: World = ALONE,
) -> list[Rescored]:
    """Score every text as a line by itself, add ``weight`` times its log-probability, and sort the hypotheses of each
    id.

    The line end is part of a hypothesis, so the empty one is scored as the line end alone. report: called with the
    share of the list that is scored. world: processes that all call this and share the list.
    """
    blocks = score_text(predictor, tokenizer, [_texts(hypotheses)], state="line", world=world)
    lines = []
    for line in scored_lines(blocks, tokenizer):
        lines.append(line)
        if report is not None:
            report(len(lines) / len(hypotheses))
    return reorder(hypotheses, lines, weight)


def reorder(hypotheses: Sequence[Hypothesis], lines: Iterable[ScoredLine], weight: float) -> list[Rescored]:
    """The best hypothesis of each id first; equal ones keep their order, and ids that of their first lines."""
    groups: dict[str, list[Rescored]] = {}
    for hypothesis, line in zip(hypotheses, lines, strict=True):
        total = hypothesis.score + (weight * line.log_prob if weight else 0.0)
        entry = Rescored(hypothesis, total, line.log_prob, line.tokens, line.rests_on_unk)
        groups.setdefault(hypothesis.id, []).append(entry)
    return [entry for group in groups.values() for entry in sorted(group, key=lambda entry: -entry.total)]


def _texts(hypotheses: Sequence[Hypothesis]) -> Iterator[str]:
    for begin in range(0, len(hypotheses), LINES_AT_ONCE):
        yield "".join(hypothesis.text + "\n" for hypothesis in hypotheses[begin : begin + LINES_AT_ONCE])
