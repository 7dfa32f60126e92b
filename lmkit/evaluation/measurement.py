"""A measurement: an evaluation of a text, with the text's own counts and how it was made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.caveats import caveats
from lmkit.evaluation.options import DEFAULTS, EvalOptions
from lmkit.evaluation.perplexity import Evaluation, evaluation_of, token_scores
from lmkit.evaluation.predictor import Scorer
from lmkit.evaluation.seams import AGREEING, RowScores, Seams, row_scores
from lmkit.model.language_model import LanguageModel
from lmkit.model.memory import check_evaluation_memory
from lmkit.samplers import IGNORE, DocumentSampler, Window, stream_windows
from lmkit.text.documents import EACH_LINE
from lmkit.text.sources.generated import KnownEntropy
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = [
    "Measurement",
    "check_memory",
    "evaluation_windows",
    "measure",
    "measurement_of",
    "rows_read",
    "text_scores",
    "watched",
    "with_rows_read",
]


class Measurement(NamedTuple):
    """An evaluation and how it was made: the split, the state policy, rows, warm-up and window in tokens, and the
    precision; notes, sentences that a reader must know before comparing the metrics; and what is known of the text.
    """

    evaluation: Evaluation
    split: str
    state: str
    rows: int
    warmup: int
    window: int
    precision: str
    lossless: bool
    notes: tuple[str, ...] = ()
    known: KnownEntropy | None = None

    def metrics(self) -> dict[str, Any]:
        """All metrics by name, ready for JSON. One that does not exist (no word in the text) is None, and so is one
        that is not finite: ``not_finite`` says why.
        """
        result = self.evaluation
        metrics = {
            "nll_nats": result.nll,
            "tokens": result.tokens,
            "words": result.words,
            "line_ends": result.line_ends,
            "chars": result.chars,
            "bytes": result.bytes,
            "oov_tokens": result.oov,
            "oov_rate": result.oov_rate,
            "oov_written_tokens": result.oov_written,
            "unknown_tokens": result.unknown,
            "unknown_rate": result.unknown_rate,
            "nats_per_token": result.nats_per_token,
            "bits_per_token": result.bits_per_token,
            "perplexity": result.perplexity,
            "perplexity_excluding_oov": result.perplexity_excluding_oov,
            "word_perplexity": result.word_perplexity,
            "words_only_perplexity": result.words_only_perplexity,
            "bits_per_char": result.bits_per_char,
            "bits_per_byte": result.bits_per_byte,
            "seams_repaired": result.seams_repaired,
            "seams_open": result.seams_open,
        }
        finite: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        how = self._asdict()
        del how["evaluation"], how["known"]
        return {**finite, **self.known_metrics(), "not_finite": result.not_finite(), **how, "notes": list(self.notes)}

    def logged(self) -> dict[str, Any]:
        """What metrics.jsonl holds of it: of the evaluation, its split, what is known of the text, and its notes."""
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {"split": self.split, **self.evaluation.logged(), **self.known_metrics(), **notes}

    def known_metrics(self) -> dict[str, float]:
        """What the machine that made the text needs for it, where that is known: no model needs less on average."""
        if self.known is None:
            return {}
        return {
            "source_entropy_nats_per_char": self.known.rate,
            "source_nll_nats": self.known.nll,
            "source_perplexity": self.known_evaluation.perplexity,
        }

    @property
    def known_evaluation(self) -> Evaluation:
        """The text as the machine that made it would score it, over the same tokens."""
        nll = math.nan if self.known is None else self.known.nll
        return replace(self.evaluation, nll=nll, oov_nll=0.0, oov=0, oov_written=0)

    def with_notes(self, notes: Iterable[str]) -> Measurement:
        """The same with further notes."""
        return self._replace(notes=(*self.notes, *notes))


def measure(
    predictor: Scorer[Any],
    tokens: TokenFile,
    tokenizer: Tokenizer,
    options: EvalOptions = DEFAULTS,
    *,
    split: str,
    report: Callable[[float], None] | None = None,
) -> Measurement:
    """Evaluate a predictor on a token file under a state policy, with the text's counts added. The adapters of the
    options are not looked at: a predictor is measured as it is.

    The state ``line`` needs tokens encoded by the rule EACH_LINE. Rows are at most as many as ``rows_read`` says.
    report: called window by window with the share of the text that was read. Raises ConfigError for a state that does
    not go with the tokens, DataError without tokens.
    """
    options = with_rows_read(options, tokens)
    scores, seams = text_scores(predictor, tokens, tokenizer.eos_id, options, report=report)
    result = evaluation_of(scores, tokenizer.unk_id) + seams.evaluation()
    return measurement_of(result, tokens, tokenizer, options, split=split)


def text_scores(
    scorer: Scorer[Any],
    tokens: TokenFile,
    eos_id: int,
    options: EvalOptions,
    *,
    report: Callable[[float], None] | None = None,
) -> RowScores:
    """The scores of the windows that ``evaluation_windows`` cuts; rows of a carried stream with their seams repaired,
    as ``row_scores`` does it. The options have the rows that are read. report: as in ``measure``.
    """
    windows = watched(evaluation_windows(tokens, eos_id, options), len(tokens), report)
    if options.policy != "carry" or options.rows == 1:
        return RowScores(token_scores(scorer, windows), Seams())
    return row_scores(scorer, windows, tokens.ids, options, eos_id=eos_id)


def measurement_of(
    result: Evaluation, tokens: TokenFile, tokenizer: Tokenizer, options: EvalOptions, *, split: str
) -> Measurement:
    """An evaluation of a token file's tokens with the text's counts added; the options have the rows that were read."""
    counts = tokens.counts
    result += Evaluation(
        words=counts.words,
        line_ends=counts.line_ends,
        chars=counts.chars,
        bytes=counts.bytes,
        oov_written=counts.oov_written,
    )
    return Measurement(
        result,
        split,
        options.policy,
        options.rows,
        options.warmup if options.rows > 1 and options.policy == "carry" else 0,
        options.window,
        options.precision,
        tokenizer.lossless,
        tuple(caveats(result, tokenizer.vocab_size)),
        tokens.known,
    )


def rows_read(tokens: TokenFile, options: EvalOptions) -> int:
    """How many rows are read in parallel. A text has no more than it has documents, or tokens; and no more than it
    has parts of ``AGREEING`` tokens where each row must prove itself.
    """
    if options.policy in ("document", "line"):
        most = len(tokens.document_starts)
    else:
        proves = options.policy == "carry" and options.max_passes is None
        most = len(tokens) // (AGREEING if proves else 1)
    return min(options.rows, max(1, most))


def with_rows_read(options: EvalOptions, tokens: TokenFile) -> EvalOptions:
    """The options with as many rows as are read of a text."""
    return replace(options, rows=rows_read(tokens, options))


def check_memory(model: LanguageModel, tokens: TokenFile, options: EvalOptions) -> None:
    """Raise ConfigError where a model cannot read a text so within the machine's memory."""
    rows = rows_read(tokens, options)
    whole = options.policy in ("document", "line")
    longest = len(tokens) if whole else options.warmup + len(tokens) // rows + 1
    check_evaluation_memory(model, rows=rows, steps=min(options.window, longest))


def evaluation_windows(tokens: TokenFile, eos_id: int, options: EvalOptions) -> Iterator[Window]:
    """The windows of an evaluation under a state policy."""
    state, rows, window = options.policy, options.rows, options.window
    if (state == "line") != (tokens.documents == EACH_LINE):
        raise ConfigError(f"--state {state} does not go with tokens of a text cut by the rule {tokens.documents}.")
    if not len(tokens):
        raise DataError("There is no token to evaluate: the text is empty.")
    if state not in ("document", "line"):
        return stream_windows(tokens.ids, eos_id=eos_id, window=window, rows=rows, warmup=options.warmup, state=state)
    rows = min(rows, len(tokens.document_starts))
    documents = DocumentSampler(
        tokens.ids, eos_id=eos_id, batch_size=rows, window=window, documents=tokens.document_starts, shuffled=False
    )
    return documents.epoch(0)


def watched(windows: Iterable[Window], num_targets: int, report: Callable[[float], None] | None) -> Iterator[Window]:
    """The same windows; ``report`` is called with the share of the targets that they have had, after each was read."""
    done = 0
    for window in windows:
        yield window
        if report is not None:
            done += int((window.targets != IGNORE).sum())
            report(min(1.0, done / num_targets))
