"""The columns of a score: which there are, their names with units, and their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from lmkit.errors import ConfigError
from lmkit.evaluation.scoring.lines import ScoredLine
from lmkit.evaluation.scoring.nbest import Rescored
from lmkit.evaluation.scoring.reading import ScoredBlock
from lmkit.evaluation.scoring.scoring import Alternative, alternatives
from lmkit.evaluation.scoring.table import Column
from lmkit.evaluation.scoring.words import ScoredWord
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["Layout", "line_columns", "nbest_columns", "token_columns", "top_columns", "word_columns"]

Values = dict[str, Callable[[], Sequence[Any]]]
COLUMNS = {
    "token": ("token", "id", "start", "end", "word", "line", "logprob", "surprisal", "entropy", "rank", "oov"),
    "word": ("word", "text", "start", "end", "line", "tokens", "logprob", "surprisal", "oov", "word_in_line"),
    "line": ("line", "start", "end", "words", "tokens", "oov", "logprob", "surprisal", "perplexity", "rests_on_unk"),
}
ON_DEMAND = ("entropy", "rank")  # they need the whole distribution at each position
UNITS = {"2": (math.log(2.0), "bits"), "e": (1.0, "nats"), "10": (math.log(10.0), "hartleys")}


class Layout(NamedTuple):
    """The columns to print of each token, word or line; the nats in one unit of surprisal, and the unit's name."""

    per: str
    columns: tuple[str, ...]
    nats: float
    unit: str

    @classmethod
    def choose(cls, per: str, columns: str | None, base: str) -> Layout:
        """columns: names with commas between them, ``all``, or None for all that cost nothing more. Raises ConfigError
        for a name that is not there.
        """
        known = COLUMNS[per]
        chosen = tuple(dict.fromkeys(name.strip() for name in columns.split(","))) if columns is not None else ()
        for name in chosen:
            if name not in (*known, "all"):
                hint = f" --per token has {name}." if name in COLUMNS["token"] else ""
                raise ConfigError(
                    f"There is no column {name!r} with --per {per}: known are {', '.join(known)}, and all.{hint}"
                )
        usual = tuple(name for name in known if name not in ON_DEMAND)
        return cls(per, known if "all" in chosen else chosen or usual, *UNITS[base])

    def titled(self, name: str) -> str:
        """A column's name with its unit."""
        units = {"logprob": "nats", "surprisal": self.unit, "entropy": self.unit}
        return f"{name}_{units[name]}" if name in units else name

    def take(self, values: Values) -> list[Column]:
        """The chosen columns; the others are not made."""
        return [Column(self.titled(name), values[name]()) for name in self.columns]


def token_columns(layout: Layout, scored: ScoredBlock, tokenizer: Tokenizer) -> list[Column]:
    """A row for each token of a block."""
    block, vocabulary = scored.block, tokenizer.vocabulary
    values: Values = {
        "token": lambda: [vocabulary[id] for id in block.ids.tolist()],
        "id": block.ids.tolist,
        "start": block.starts.tolist,
        "end": block.ends.tolist,
        "word": block.words.tolist,
        "line": block.lines.tolist,
        "logprob": (scored.log_probs + 0.0).tolist,  # no minus zero
        "surprisal": (0.0 - scored.log_probs / layout.nats).tolist,
        "oov": lambda: [id == tokenizer.unk_id for id in block.ids.tolist()],
    }
    if scored.entropy is not None:
        values["entropy"] = (scored.entropy / layout.nats + 0.0).tolist
    if scored.rank is not None:
        values["rank"] = scored.rank.tolist
    return layout.take(values)


def top_columns(scored: ScoredBlock, tokenizer: Tokenizer, *, nested: bool) -> list[Column]:
    """The most probable tokens, if they were asked for: a list of objects at each position, or two columns for each of
    the k.
    """
    if scored.top_ids is None:
        return []
    tops = alternatives(scored, tokenizer)
    if nested:
        return [Column("top", [[_alternative(one) for one in top] for top in tops])]
    found = []
    for rank in range(scored.top_ids.shape[1]):
        found.append(Column(f"top{rank + 1}", [top[rank].token for top in tops]))
        found.append(Column(f"top{rank + 1}_logprob_nats", [top[rank].log_prob + 0.0 for top in tops]))
    return found


def word_columns(layout: Layout, words: Sequence[ScoredWord]) -> list[Column]:
    """A row for each word."""
    same = ("word", "text", "start", "end", "line", "tokens", "oov", "word_in_line")
    return layout.take(_attributes(words, same) | _scores(words, layout))


def line_columns(layout: Layout, lines: Sequence[ScoredLine]) -> list[Column]:
    """A row for each line."""
    same = ("line", "start", "end", "words", "tokens", "oov", "rests_on_unk")
    values = _attributes(lines, same) | _scores(lines, layout)
    values["perplexity"] = lambda: [line.perplexity if line.tokens else None for line in lines]
    return layout.take(values)


def nbest_columns(entries: Sequence[Rescored]) -> list[Column]:
    """A row for each hypothesis."""
    return [
        Column("id", [entry.hypothesis.id for entry in entries]),
        Column("total", [entry.total + 0.0 for entry in entries]),
        Column("score", [entry.hypothesis.score for entry in entries]),
        Column("logprob_nats", [entry.log_prob + 0.0 for entry in entries]),
        Column("tokens", [entry.tokens for entry in entries]),
        Column("text", [entry.hypothesis.text for entry in entries]),
    ]


def _alternative(one: Alternative) -> dict[str, Any]:
    """As JSON shows it: seven significant digits, and null for a token that cannot come."""
    value = float(f"{one.log_prob:.7g}") if math.isfinite(one.log_prob) else None
    return {"token": one.token, "id": one.id, "logprob_nats": value}


def _attributes(records: Sequence[Any], names: Sequence[str]) -> Values:
    return {name: partial(_attribute, records, name) for name in names}


def _attribute(records: Sequence[Any], name: str) -> list[Any]:
    return [getattr(record, name) for record in records]


def _scores(records: Sequence[ScoredWord] | Sequence[ScoredLine], layout: Layout) -> Values:
    return {
        "logprob": lambda: [record.log_prob + 0.0 for record in records],
        "surprisal": lambda: [0.0 - record.log_prob / layout.nats for record in records],
    }
