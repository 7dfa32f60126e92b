"""``lmkit.compare``: is one model better than another on the same text, and how sure is that?"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from lmkit.api import TrainedModel, load_language_model
from lmkit.errors import ConfigError, FailedError, LmkitError
from lmkit.evaluation.caveats import MUCH_UNKNOWN, unknown_words
from lmkit.evaluation.comparison.alignment import (
    ScoredRun,
    Units,
    coarsest,
    refuse_lossy,
    same_tokens,
    span_units,
    split_slice,
    token_units,
)
from lmkit.evaluation.comparison.comparison import Comparison, count_blocks
from lmkit.evaluation.comparison.comparison import compare as compare_units
from lmkit.evaluation.comparison.groups import check_group, group_run, group_units, over_seeds, pair_runs
from lmkit.evaluation.comparison.losses import scored_losses
from lmkit.evaluation.comparison.options import CompareKeywords, CompareOptions
from lmkit.evaluation.measurement import check_memory
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.text.corpus import Progress, build_corpus, encode_text
from lmkit.text.sources.opening import open_local, open_source, spool
from lmkit.text.sources.source import Piece, pieces
from lmkit.text.token_file import TokenFile

__all__ = ["compare"]

Run = str | os.PathLike[str] | TrainedModel


def compare(
    runs: Iterable[Run],
    *,
    against: Iterable[Run] | None = None,
    split: str | None = None,
    text: str | None = None,
    file: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    **options: Unpack[CompareKeywords],
) -> Comparison:
    """Compare two or more runs, or models that are loaded, on one text; the first is the baseline.

    against: compare two groups of runs, each with several seeds of one recipe: ``runs`` with these, the baseline. The
    intervals are those over the text for the mean of the runs; ``seeds`` of the result has the one over seeds.

    The text is a split of the first run's corpus (default: test if there is one, else valid), ``text`` itself, or
    ``file``: a file, a .gz, a folder, or - for standard input. Every model reads it with the state that it was trained
    for. device: where runs that are given by their folder are loaded.
    ``progress(stage, share)`` is called while the text is read and scored, with a share of nan where it is not known.

    options, with the defaults of ``CompareOptions``: rows, parallel parts of a carried stream; block, consecutive
    tokens (bytes where tokenizers differ) of a block of the paired test, by default a sixteenth of the text; resamples,
    confidence and seed of the bootstrap; allow_lossy, take different tokenizers that lose text, whose results are lower
    bounds then.

    Losses are in nats per token where the tokens are the same, else in bits per byte. Raises ConfigError for options
    that do not go together, RunError for what is no run, DataError for a text that is empty or too short, FailedError
    where a loss is not finite.
    """
    chosen = CompareOptions(**options)
    runs, baseline = _listed(runs), _listed(() if against is None else against)
    if against is not None and not (runs and baseline):
        raise ConfigError("Give runs on both sides of --against, as in `lmkit compare A1 A2 --against B1 B2`.")
    runs, size = [*baseline, *runs], len(baseline)
    if len(runs) < 2:
        raise ConfigError("A comparison needs two runs or more, as in `lmkit compare runs/book-1 runs/book-2`.")
    if sum(given is not None for given in (split, text, file)) > 1:
        raise ConfigError("Give either --split or --file, not both." if text is None else "Give one text, not several.")
    if file is not None and not os.fspath(file):
        raise ConfigError("--file is empty: give a file, a folder, or - for standard input.")
    models = [run if isinstance(run, TrainedModel) else _load(run, device, progress) for run in runs]
    with _open_text(models, split, text, file) as opened:
        readers = _readers(models, opened, _names(runs), chosen.allow_lossy, chosen.block)
        groups = [slice(0, size), slice(size, None)] if size else []
        noted = [
            note for group in groups for note in check_group(readers[group], [one.config for one in models[group]])
        ]
        scored = []
        for model, reader in zip(models, readers, strict=True):
            report = None if progress is None else partial(progress, f"scoring {reader.name}")
            scored.append(_score(model, reader, chosen.rows, report))
        if progress is not None:
            progress("comparing", math.nan)
        units, notes = _units(models, scored, opened)
    notes = [*noted, *_warnings(models, scored), *notes]
    seeds = None
    if size:
        configs = [model.config for model in models]
        pairing = pair_runs(configs[size:], configs[:size])
        seeds = over_seeds(units, [run.name for run in scored], size, pairing, confidence=chosen.confidence)
        scored, units = [group_run(scored[:size]), group_run(scored[size:])], group_units(units, size)
    found = compare_units(
        scored,
        units,
        block=chosen.block,
        resamples=chosen.resamples,
        confidence=chosen.confidence,
        seed=chosen.seed,
    )
    return dataclasses.replace(found, split=opened.name, rows=chosen.rows, notes=notes, seeds=seeds)


def _listed(runs: Iterable[Run]) -> list[Run]:
    return [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)


def _load(run: str | os.PathLike[str], device: str, progress: Progress | None) -> TrainedModel:
    model = load_language_model(run, device)
    model.progress = progress
    return model


class _Text(NamedTuple):
    """The text that all runs are scored on, as tokens of each, and as characters where they are needed."""

    name: str
    tokens: list[TokenFile]
    pieces: Callable[[], list[Piece]]


def _names(runs: Sequence[Run]) -> list[str]:
    """What the runs are called: their folders, or their numbers where models have none."""
    names = []
    for number, run in enumerate(runs, 1):
        if isinstance(run, TrainedModel):
            names.append(f"model {number}" if run.run is None else str(run.run.path))
        else:
            names.append(os.fspath(run))
    return names


@contextlib.contextmanager
def _open_text(
    models: Sequence[TrainedModel], split: str | None, text: str | None, file: str | os.PathLike[str] | None
) -> Iterator[_Text]:
    """The text as tokens of every model; standard input is kept while the context is open, to be read by each."""
    if text is not None:
        tokens = [encode_text(model.tokenizer, text, documents=model.config.data.documents) for model in models]
        yield _Text("text", tokens, lambda: [(0, text)])
    elif file is None:
        yield _split_text(models, split)
    else:
        with spool() if file == "-" else contextlib.nullcontext(file) as path:
            yield _Text(str(file), [model.file_tokens(path) for model in models], lambda: _file_pieces(path))


def _split_text(models: Sequence[TrainedModel], split: str | None) -> _Text:
    baseline = models[0]
    name, tokens = baseline.split_tokens(split)

    def split_pieces() -> list[Piece]:
        config = baseline.config.data
        ranges = build_corpus(config, tokenizer=baseline.tokenizer).info["ranges"]
        with open_source(config.corpus) as source:
            return list(split_slice(source, ranges, name).pieces())

    return _Text(name, [tokens, *(_as_tokens(baseline, model, name) for model in models[1:])], split_pieces)


def _file_pieces(path: str | os.PathLike[str]) -> list[Piece]:
    with open_local(path) as source:
        return list(pieces([document for part in source.parts.values() for document in part]))


def _as_tokens(baseline: TrainedModel, model: TrainedModel, split: str) -> TokenFile:
    """A split of the baseline's corpus as another model's tokens, with that model's rule for documents."""
    data = dataclasses.replace(baseline.config.data, documents=model.config.data.documents)
    return build_corpus(data, tokenizer=model.tokenizer, progress=model.progress).splits[split]


def _readers(
    models: Sequence[TrainedModel], text: _Text, names: Sequence[str], allow_lossy: bool, block: int | None
) -> list[ScoredRun]:
    """The runs with their tokens, still without losses: what is wrong shows before anything is computed."""
    runs = [
        ScoredRun(name, model.tokenizer, tokens, np.empty(0), model.config.data.documents, model.eval_state)
        for name, model, tokens in zip(names, models, text.tokens, strict=True)
    ]
    if same_tokens(runs):
        count_blocks(len(text.tokens[0]), block, "token")
        return runs
    if not allow_lossy:
        refuse_lossy(runs)
    count_blocks(text.tokens[0].counts.bytes, block, "span")
    return runs


def _score(model: TrainedModel, run: ScoredRun, rows: int, report: Callable[[float], None] | None) -> ScoredRun:
    predictor, eos = NetworkPredictor(model.model), model.tokenizer.eos_id
    options = EvalOptions(state=run.state, rows=rows)
    check_memory(model.model, run.tokens, options)
    try:
        losses = scored_losses(predictor, run.tokens, eos, options, report=report).checked()
    except FailedError as error:
        raise FailedError(f"{run.name}: {error}") from error
    return dataclasses.replace(run, losses=losses.values, seams_repaired=losses.seams.repaired)


def _units(models: Sequence[TrainedModel], runs: Sequence[ScoredRun], text: _Text) -> tuple[Units, list[str]]:
    """What is compared, and a note where the training text is not there to count frequencies in."""
    same = same_tokens(runs)
    counts, notes = None, []
    try:
        counts = _train_counts(models[0 if same else coarsest(runs)])
    except LmkitError as error:
        notes.append(f"No losses by frequency: {error}")
    return (token_units(runs, counts) if same else span_units(runs, text.pieces(), counts)), notes


def _train_counts(model: TrainedModel) -> NDArray[np.int64]:
    """How often each token occurs in the training split."""
    _, tokens = model.split_tokens("train")
    return tokens.frequencies(model.tokenizer.vocab_size)


def _warnings(models: Sequence[TrainedModel], runs: Sequence[ScoredRun]) -> list[str]:
    """What a reader must know before believing the results."""
    notes = []
    texts = [model.run and model.run.record.split_hash("train") for model in models]
    for run, text in zip(runs[1:], texts[1:], strict=True):
        if text != texts[0]:
            notes.append(
                f"{run.name} was trained on another text than {runs[0].name}, which may hold some of this one."
            )
    if len({run.state for run in runs}) > 1:
        policies = ", ".join(f"{run.name} {run.state}" for run in runs)
        notes.append(f"Each run reads with the state policy that it was trained with: {policies}.")
    if not same_tokens(runs):
        lossy = [run.name for run in runs if not run.lossless]
        notes += [f"{name} is lossy: its bits per byte are a lower bound." for name in lossy]
    for run in runs:
        counts = run.tokens.counts
        if counts.unknown > MUCH_UNKNOWN * counts.tokens:
            notes.append(f"{run.name}: {unknown_words(counts.unknown, counts.tokens)}")
    return notes
