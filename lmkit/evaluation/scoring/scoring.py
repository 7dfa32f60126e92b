"""Scoring: the log-probability of each token of a text, and on demand what else the prediction says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from lmkit.config import DOCUMENTS
from lmkit.distributed.world import ALONE, World
from lmkit.errors import ConfigError
from lmkit.evaluation.options import DEFAULTS, STATES
from lmkit.evaluation.predictor import Predictor
from lmkit.evaluation.scoring.blocks import token_blocks
from lmkit.evaluation.scoring.details import Details
from lmkit.evaluation.scoring.reading import Report, ScoredBlock, score_blocks
from lmkit.evaluation.scoring.records import shown_with
from lmkit.evaluation.scoring.words import follows_word
from lmkit.samplers import IGNORE
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["SCORED_STATES", "Alternative", "ScoredToken", "alternatives", "score_text", "scored_tokens"]

S = TypeVar("S")
SCORED_STATES = tuple(state for state in STATES if state != "reset")  # a window is no unit of a text


def score_text(
    predictor: Predictor[S],
    tokenizer: Tokenizer,
    files: Iterable[Iterable[str]],
    *,
    state: str = "carry",
    documents: str = "file",
    entropy: bool = False,
    rank: bool = False,
    top_k: int = 0,
    words: bool = False,
    window: int = DEFAULTS.window,
    report: Report | None = None,
    world: World = ALONE,
) -> Iterator[ScoredBlock]:
    """Score files, each given as chunks of text, in constant memory: every token once, the first included.

    state: carry reads everything as one stream; document starts afresh at each document (``documents``: file, line or
    blank-line); line reads each line by itself from a state of zero with ``<eos>`` before it, its line end included, so
    equal lines get equal scores. Under carry and document the scores add up to minus the nll of an evaluation.
    entropy, rank, top_k: what else to report of each prediction. words: find what ``scored_words`` needs.
    report: called with a block of tokens and how many of them are scored, window by window. world: processes that all
    score the files and compute the rows of lines and short documents together; each has all scores.

    Raises ConfigError for a state or documents that are none of them, DataError where there is nothing to score.
    """
    if state not in SCORED_STATES:
        raise ConfigError(f"--state must be one of {', '.join(SCORED_STATES)}, not {state!r}.")
    if documents not in DOCUMENTS:
        raise ConfigError(f"--documents must be one of {', '.join(DOCUMENTS)}, not {documents!r}.")
    if top_k < 0:
        raise ConfigError(f"--top-k must be at least 0, not {top_k}.")
    details = Details(entropy, rank, top_k, follows_word(tokenizer) if words else None)
    blocks = token_blocks(tokenizer, files, state=state, documents=documents, marks=details.begins is not None)
    return score_blocks(
        predictor,
        blocks,
        eos_id=tokenizer.eos_id,
        vocab_size=tokenizer.vocab_size,
        details=details,
        window=window,
        report=report,
        world=world,
    )


class Alternative(NamedTuple):
    """A token that could have come instead, with its log-probability in nats."""

    token: str
    id: int
    log_prob: float


class ScoredToken(NamedTuple):
    """One token of a scored text: what it is, where it stands (characters start:end of the text; word and line from 1)
    and its log-probability in nats.

    ``word`` counts what ``score_words`` lists: words, line ends and the ``<eos>`` that close documents; white space
    before a word goes with it. If asked for: the entropy of the prediction in nats, the token's rank in it from 1, and
    the most probable tokens.
    """

    token: str
    id: int
    start: int
    end: int
    log_prob: float
    word: int = 1
    line: int = 1
    oov: bool = False
    entropy: float | None = None
    rank: int | None = None
    top: tuple[Alternative, ...] = ()

    @property
    def surprisal(self) -> float:
        """Surprisal in bits."""
        return -self.log_prob / math.log(2.0)

    def __repr__(self) -> str:
        return shown_with(self, surprisal=self.surprisal)


def scored_tokens(scored: ScoredBlock, tokenizer: Tokenizer) -> Iterator[ScoredToken]:
    """The tokens of a block one by one."""
    block = scored.block
    names, ids = tokenizer.vocabulary, block.ids.tolist()
    nothing = [None] * len(ids)
    columns = zip(
        ids,
        block.starts.tolist(),
        block.ends.tolist(),
        scored.log_probs.tolist(),
        block.words.tolist(),
        block.lines.tolist(),
        nothing if scored.entropy is None else scored.entropy.tolist(),
        nothing if scored.rank is None else scored.rank.tolist(),
        strict=True,
    )
    tops = alternatives(scored, tokenizer)
    for number, (id, start, end, log_prob, word, line, entropy, rank) in enumerate(columns):
        if id != IGNORE:
            top = tops[number] if tops else ()
            oov = id == tokenizer.unk_id
            yield ScoredToken(names[id], id, start, end, log_prob, word, line, oov, entropy, rank, top)


def alternatives(scored: ScoredBlock, tokenizer: Tokenizer) -> list[tuple[Alternative, ...]]:
    """The most probable tokens at each position, the best first; empty if they were not asked for."""
    if scored.top_ids is None or scored.top_log_probs is None:
        return []
    names = tokenizer.vocabulary
    return [
        tuple(Alternative(names[id], id, value) for id, value in zip(ids, values, strict=True))
        for ids, values in zip(scored.top_ids.tolist(), scored.top_log_probs.tolist(), strict=True)
    ]
