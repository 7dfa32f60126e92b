"""``lmkit compare``: is one model better than another, and how sure is that?"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from lmkit.cli.options import LARGEST, runtime_options, use_runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmkit.api import TrainedModel
    from lmkit.evaluation.alignment import ScoredRun, Units
    from lmkit.text.source import Piece
    from lmkit.text.token_file import TokenFile

__all__ = ["command"]

DEFAULT_WARMUP = 256


class Text(NamedTuple):
    """The text that all runs are scored on, as tokens of each, and as characters where they are needed."""

    name: str
    tokens: list[TokenFile]
    pieces: Callable[[], list[Piece]]


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    help="Split of the first run's corpus (default: test if there is one, else valid).",
)
@click.option("--file", "file", help="Compare on another text: a file, a .gz, a folder, or - for standard input.")
@click.option(
    "--block",
    type=click.IntRange(1, LARGEST),
    help="Consecutive tokens (bytes where tokenizers differ) of a block (default: a sixteenth of the text).",
)
@click.option(
    "--resamples", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True, help="Bootstrap resamples."
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the intervals.",
)
@click.option("--seed", type=click.IntRange(0, LARGEST), default=0, show_default=True, help="Seed of the resamples.")
@click.option(
    "--rows",
    type=click.IntRange(1, LARGEST),
    default=1,
    show_default=True,
    help="Rows computed side by side; 1 is the unbroken stream.",
)
@click.option("--allow-lossy", is_flag=True, help="Compare different tokenizers that lose text: lower bounds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@runtime_options
def command(
    runs: tuple[Path, ...],
    split: str | None,
    file: str | None,
    block: int | None,
    resamples: int,
    confidence: float,
    seed: int,
    rows: int,
    allow_lossy: bool,
    as_json: bool,
    device: str | None,
    threads: int | None,
) -> None:
    """Compare two or more runs on the same text; the first is the baseline.

    Differences come with confidence intervals over blocks of consecutive tokens and with a paired test, in all, by
    how frequent a token was in training, and by its position in the document. Runs with the same tokenizer are
    compared token by token in nats; others in bits per byte, over the stretches of text between common token ends.
    """
    from lmkit.api import load
    from lmkit.console.comparison import show_comparison
    from lmkit.errors import ConfigError
    from lmkit.evaluation.comparison import compare

    if len(runs) < 2:
        raise ConfigError("A comparison needs two runs or more, as in `lmkit compare runs/book-1 runs/book-2`.")
    if file is not None and split is not None:
        raise ConfigError("Give either --split or --file, not both.")
    place = use_runtime(device, threads)
    models = [load(run, place) for run in runs]
    with _text(models, split, file) as text:
        readers = _readers(models, text, [str(run) for run in runs], allow_lossy, block)
        scored = [_score(model, reader, rows) for model, reader in zip(models, readers, strict=True)]
        units, notes = _units(models, scored, text)
    result = compare(scored, units, block=block, resamples=resamples, confidence=confidence, seed=seed)
    notes = [*_warnings(models, scored), *notes]
    if as_json:
        click.echo(json.dumps({"split": text.name, "rows": rows, **result.figures(), "notes": notes}))
    else:
        show_comparison(result, text.name, notes, file=sys.stdout)


@contextlib.contextmanager
def _text(models: Sequence[TrainedModel], split: str | None, file: str | None) -> Iterator[Text]:
    """The text as tokens of every model; standard input is kept while the context is open, to be read by each."""
    from lmkit.evaluation.alignment import split_slice
    from lmkit.text.corpus import build_corpus
    from lmkit.text.source import pieces
    from lmkit.text.sources import open_local, open_source, spool

    if file is None:
        name, tokens = models[0].split_tokens(split)
        config = models[0].config.data

        def split_pieces() -> list[Piece]:
            ranges = build_corpus(config, tokenizer=models[0].tokenizer).info["ranges"]
            with open_source(config.corpus) as source:
                return list(split_slice(source, ranges, name).pieces())

        yield Text(name, [tokens, *(_as_tokens(models[0], model, name) for model in models[1:])], split_pieces)
        return
    with spool() if file == "-" else contextlib.nullcontext(file) as path:

        def file_pieces() -> list[Piece]:
            with open_local(path) as source:
                return list(pieces([document for part in source.parts.values() for document in part]))

        yield Text(file, [model.file_tokens(path) for model in models], file_pieces)


def _as_tokens(baseline: TrainedModel, model: TrainedModel, split: str) -> TokenFile:
    """A split of the baseline's corpus as another model's tokens, with that model's rule for documents."""
    from lmkit.text.corpus import build_corpus

    data = dataclasses.replace(baseline.config.data, documents=model.config.data.documents)
    return build_corpus(data, tokenizer=model.tokenizer).splits[split]


def _readers(
    models: Sequence[TrainedModel], text: Text, names: Sequence[str], allow_lossy: bool, block: int | None
) -> list[ScoredRun]:
    """The runs with their tokens, still without losses: what is wrong shows before anything is computed."""
    import numpy as np

    from lmkit.evaluation.alignment import ScoredRun, refuse_lossy, same_tokens
    from lmkit.evaluation.comparison import count_blocks

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


def _score(model: TrainedModel, run: ScoredRun, rows: int) -> ScoredRun:
    from lmkit.errors import FailedError
    from lmkit.evaluation.losses import token_losses
    from lmkit.evaluation.predictor import NetworkPredictor

    if sys.stderr.isatty():
        click.echo(f"scoring {run.name}: {len(run.tokens):,} tokens", err=True)
    predictor, eos = NetworkPredictor(model.model), model.tokenizer.eos_id
    try:
        losses = token_losses(predictor, run.tokens, eos, state=run.state, rows=rows, warmup=DEFAULT_WARMUP)
    except FailedError as error:
        raise FailedError(f"{run.name}: {error}") from error
    return dataclasses.replace(run, losses=losses)


def _units(models: Sequence[TrainedModel], runs: Sequence[ScoredRun], text: Text) -> tuple[Units, list[str]]:
    """What is compared, and a note where the training text is not there to count frequencies in."""
    from lmkit.errors import LmkitError
    from lmkit.evaluation.alignment import coarsest, same_tokens, span_units, token_units

    same = same_tokens(runs)
    counts, notes = None, []
    try:
        counts = _train_counts(models[0 if same else coarsest(runs)])
    except LmkitError as error:
        notes.append(f"No losses by frequency: {error}")
    return (token_units(runs, counts) if same else span_units(runs, text.pieces(), counts)), notes


def _train_counts(model: TrainedModel) -> NDArray[np.int64]:
    """How often each token occurs in the training split."""
    import numpy as np

    _, tokens = model.split_tokens("train")
    counts = np.zeros(model.tokenizer.vocab_size, dtype=np.int64)
    for start in range(0, len(tokens), 2**22):
        counts += np.bincount(tokens.ids[start : start + 2**22], minlength=len(counts))
    return counts


def _warnings(models: Sequence[TrainedModel], runs: Sequence[ScoredRun]) -> list[str]:
    """What a reader must know before believing the figures."""
    from lmkit.evaluation.alignment import same_tokens

    notes = []
    texts = [model.run and model.run.split_hash("train") for model in models]
    for run, text in zip(runs[1:], texts[1:], strict=True):
        if text != texts[0]:
            notes.append(
                f"{run.name} was trained on another text than {runs[0].name}, which may hold some of this one."
            )
    if len({run.state for run in runs}) > 1:
        policies = ", ".join(f"{run.name} {run.state}" for run in runs)
        notes.append(f"Each run reads with the state that it was trained for: {policies}.")
    if not same_tokens(runs):
        lossy = [run.name for run in runs if not run.lossless]
        notes += [f"{name} is lossy: its bits per byte are a lower bound." for name in lossy]
    return notes
