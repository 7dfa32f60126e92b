"""``lmkit score``: the log-probability and surprisal of every token, word or line of a text; n-best lists rescored."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lmkit.cli.completers import complete_files, complete_runs
from lmkit.cli.options import (
    Count,
    SectionedCommand,
    checkpoint_option,
    progress_line,
    runtime_options,
    say_what_is_awaited,
    use_own_device,
)
from lmkit.cli.processes import joined
from lmkit.cli.runs import only_run
from lmkit.cli.share import ScoredShare
from lmkit.errors import FailedError
from lmkit.files import expanded

if TYPE_CHECKING:
    from lmkit.api import TrainedModel
    from lmkit.console.terminal.progress import ProgressLine
    from lmkit.distributed.world import World
    from lmkit.evaluation.scoring.columns import Layout
    from lmkit.evaluation.scoring.reading import ScoredBlock
    from lmkit.evaluation.scoring.table import Column

__all__ = ["command"]

LOST = "Another process of this scoring has ended: all end here."
READ_AT_ONCE = 1 << 16


@click.command(cls=SectionedCommand)
@click.argument("run", type=click.Path(path_type=Path), required=False, shell_complete=complete_runs)
@click.argument("files", metavar="[FILE...|-]", nargs=-1, shell_complete=complete_files)
@click.option(
    "--per",
    type=click.Choice(["token", "word", "line"]),
    default="token",
    show_default=True,
    help="What a row is. Words are separated by white space; line ends are listed with them.",
)
@click.option(
    "--state",
    "--context",
    type=click.Choice(["carry", "stream", "document", "line"]),
    help="What is read before a token: everything (carry or stream), its document, or its line alone "
    "(default: as the model was trained).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["tsv", "csv", "jsonl"]),
    help="Output format (default: tsv). In tsv a tab, line end or backslash in a text is \\t, \\n, \\\\.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.option(
    "--base",
    "--log-base",
    type=click.Choice(["2", "e", "10"]),
    default="2",
    show_default=True,
    help="Unit of surprisal and entropy: bits (2), nats (e) or hartleys (10). Log-probabilities are in nats.",
)
@click.option(
    "--columns",
    help="Columns to print, with commas between them, or all; entropy and rank are computed only if named. "
    "A wrong name lists them.",
)
@click.option("--top-k", type=Count(1), help="Also the k most probable tokens at each position (with --per token).")
@click.option(
    "--nbest",
    shell_complete=complete_files,
    help="Rescore an n-best list instead: lines `id score text` with a tab or ||| between them, higher is better.",
)
@click.option("--weight", type=float, help="With --nbest: score + weight * log-probability in nats (default: 1).")
@checkpoint_option
@runtime_options
def command(
    run: Path | None,
    files: tuple[str, ...],
    per: str,
    state: str | None,
    form: str | None,
    as_json: bool,
    base: str,
    columns: str | None,
    top_k: int | None,
    nbest: str | None,
    weight: float | None,
    checkpoint: str,
    device: str | None,
    threads: int | None,
) -> None:
    """Score plain text with a trained model: surprisal of every token, word or line, the first one included.

    \b
    lmkit score book-1 chapter.txt                        one row a token
    echo "Call me Ishmael." | lmkit score book-1 --per word
    lmkit score book-1 sentences.txt --per line --state line
    lmkit score book-1 --nbest hypotheses.txt --weight 0.3

    Text comes from files, .gz files, folders or standard input, and streams through. Start and end count characters
    from 0, words and lines from 1, starting again in each file. The log-probabilities of all tokens add up to those of
    eval. Words have the correction for tokens that begin with a space: a word's own end is part of it, the end of the
    one before is not.
    """
    line = progress_line()
    from lmkit.api import load_language_model
    from lmkit.evaluation.scoring.columns import Layout
    from lmkit.evaluation.shared import check_same_model

    run = run or only_run("score")
    form = _format(form, as_json=as_json)
    _check(nbest, weight, per=per, top_k=top_k, others=(files, state, columns))
    layout = Layout.choose(per, columns, base)
    names = (nbest,) if nbest is not None else files or ("-",)
    with joined(LOST) as world, contextlib.ExitStack() as stack:
        world.check_same({"command line": click.get_current_context().params})
        with world.together():
            device = use_own_device(device, threads, world)
            sources = _open(names, stack)
            lm = load_language_model(run, device, checkpoint)
            state = "line" if nbest is not None else "carry" if state == "stream" else state or lm.eval_state
            _check_shared(world, names, state)
        check_same_model(lm.model, world)
        lm.progress = line
        if not files and nbest is None and world.main:
            say_what_is_awaited(line)
        if nbest is not None:
            _rescore(lm, sources, 1.0 if weight is None else weight, _Table(form, line), world)
        else:
            _score(lm, sources, state, layout, top_k or 0, _Table(form, line), world)
        line.end()


class _Source(NamedTuple):
    """A document to score. size: its bytes (those of a folder shared out evenly), nan where it is unknown."""

    name: str
    chunks: Callable[[], Iterable[str]]
    size: float = math.nan


class _Table:
    """Rows on standard output, with the names before the first; each is visible at once."""

    def __init__(self, form: str, line: ProgressLine) -> None:
        self.form, self.line = form, line
        self.begun = False

    def write(self, columns: Sequence[Column]) -> None:
        from lmkit.evaluation.scoring.table import header, rows

        text = "" if self.begun else header([column.name for column in columns], self.form)
        text += rows(columns, self.form)
        with self.line.hidden() if sys.stdout.isatty() else contextlib.nullcontext():
            self.begun = True
            sys.stdout.write(text)
            sys.stdout.flush()


def _format(form: str | None, *, as_json: bool) -> str:
    from lmkit.errors import ConfigError

    if as_json and form not in (None, "jsonl"):
        raise ConfigError(f"--json is --format jsonl: give it or --format {form}, not both.")
    return "jsonl" if as_json else form or "tsv"


def _check(nbest: str | None, weight: float | None, *, per: str, top_k: int | None, others: tuple[Any, ...]) -> None:
    from lmkit.errors import ConfigError

    if nbest is not None and (any(others) or top_k or per != "token"):
        raise ConfigError("--nbest takes only --weight, --format, --device and --threads: it scores its own lines.")
    if nbest is None and weight is not None:
        raise ConfigError("--weight needs --nbest.")
    if weight is not None and not math.isfinite(weight):
        raise ConfigError(f"--weight must be a finite number, not {weight}.")
    if top_k and per != "token":
        raise ConfigError("--top-k needs --per token.")


def _check_shared(world: World, names: Sequence[str], state: str) -> None:
    """Raise ConfigError for what one process scores alone."""
    from lmkit.errors import ConfigError

    if world.alone:
        return
    world.check_readable_by_all(*names)
    if state == "carry":
        raise ConfigError(
            "One unbroken stream is scored in one process: give --state line or document, or leave torchrun out."
        )


def _open(names: Sequence[str], stack: contextlib.ExitStack) -> list[_Source]:
    """The documents behind file names; standard input is read as it comes. What is not there is found before any
    work.
    """
    from lmkit.text.sources.opening import open_local
    from lmkit.text.sources.reading import decode_chunks

    found = []
    for name in names:
        if name == "-":
            found.append(_Source("-", lambda: decode_chunks(_standard_input(), "standard input")))
            continue
        source = stack.enter_context(open_local(name))
        _refuse_output(source.files)
        documents = [document for part in source.parts.values() for document in part]
        folder = expanded(name).is_dir()
        size = _size(source.files) / max(1, len(documents))
        found += [_Source(f"{name}/{one.name}" if folder else name, one.chunks, size) for one in documents]
    return found


def _size(files: Sequence[Path]) -> float:
    """Bytes of the text in these files, nan where they are compressed."""
    return (
        math.nan if any(path.suffix == ".gz" for path in files) else float(sum(path.stat().st_size for path in files))
    )


def _refuse_output(files: Sequence[Path]) -> None:
    """A text that grows as it is scored has no end."""
    from lmkit.errors import DataError

    try:
        written = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is no file
        return
    for path in files:
        if os.path.samestat(path.stat(), written):
            raise DataError(f"{path} is where the scores are written to: redirect them to another file.")


def _standard_input() -> Iterator[bytes]:
    """Whatever is there, without waiting for more."""
    file: Any = sys.stdin.buffer
    while block := file.read1(READ_AT_ONCE):
        yield block


def _score(
    lm: TrainedModel, sources: Sequence[_Source], state: str, layout: Layout, top_k: int, table: _Table, world: World
) -> None:
    from lmkit.evaluation.caveats import MUCH_UNKNOWN, unknown_words
    from lmkit.evaluation.scoring.blocks import unknown_tokens
    from lmkit.evaluation.scoring.table import Column

    tokens = oov = unknown = 0

    def counted(blocks: Iterable[ScoredBlock]) -> Iterator[ScoredBlock]:
        nonlocal tokens, oov, unknown
        for scored in blocks:
            tokens += int((scored.block.ids >= 0).sum())  # without marks of a word's end
            oov += int((scored.block.ids == lm.tokenizer.unk_id).sum())
            unknown += int(unknown_tokens(scored.block, lm.tokenizer).sum())
            yield scored

    share = ScoredShare(sum(source.size for source in sources), table.line)
    blocks = lm.score_files(
        (share.reading(source.chunks()) for source in sources),
        state=state,
        entropy="entropy" in layout.columns,
        rank="rank" in layout.columns,
        top_k=top_k,
        words=layout.per == "word",
        report=share.scored,
        world=world,
    )
    if not world.main:
        for _ in blocks:
            pass
        return
    for files, columns in _rows(lm, counted(blocks), layout, nested=table.form == "jsonl"):
        if not files:
            continue
        first = [Column("file", [sources[number].name for number in files])] if len(sources) > 1 else []
        with _or_none_go_on(world):
            if (note := lm.state_note(state)) and not table.begun:
                with table.line.hidden():
                    click.echo(f"Note: {note}", err=True)
            table.write([*first, *columns])
    table.line.end()
    if oov == tokens:
        which = "the only token is" if tokens == 1 else f"all {tokens:,} tokens are"
        click.echo(f"Note: {which} <unk>: the scores say nothing about the text.", err=True)
    elif unknown > MUCH_UNKNOWN * tokens:
        click.echo(f"Note: {unknown_words(unknown, tokens)}", err=True)


@contextlib.contextmanager
def _or_none_go_on(world: World) -> Iterator[None]:
    """Where the first process cannot write inside, the others end as well: with 0 where nobody reads any more."""
    try:
        yield
    except Exception as error:
        world.dismiss(0 if isinstance(error, BrokenPipeError) else FailedError.exit_code)
        raise


def _rows(
    lm: TrainedModel, blocks: Iterable[ScoredBlock], layout: Layout, *, nested: bool
) -> Iterator[tuple[list[int], list[Column]]]:
    """The rows that become known with each block: the file of each, and the columns."""
    from lmkit.evaluation.scoring.columns import line_columns, token_columns, top_columns, word_columns
    from lmkit.evaluation.scoring.lines import lines_by_block
    from lmkit.evaluation.scoring.words import words_by_block

    if layout.per == "token":
        for scored in blocks:
            columns = token_columns(layout, scored, lm.tokenizer) + top_columns(scored, lm.tokenizer, nested=nested)
            yield [scored.block.file] * len(scored.block), columns
    elif layout.per == "word":
        for words in words_by_block(blocks, lm.tokenizer):
            yield [word.file for word in words], word_columns(layout, words)
    else:
        for lines in lines_by_block(blocks, lm.tokenizer):
            yield [line.file for line in lines], line_columns(layout, lines)


def _rescore(lm: TrainedModel, sources: Sequence[_Source], weight: float, table: _Table, world: World) -> None:
    from lmkit.errors import DataError
    from lmkit.evaluation.scoring.columns import nbest_columns
    from lmkit.evaluation.scoring.nbest import read_nbest

    if len(sources) != 1:
        raise DataError("--nbest takes one file, or - for standard input.")
    hypotheses = read_nbest(sources[0].chunks(), "standard input" if sources[0].name == "-" else sources[0].name)
    entries = lm.rescore(hypotheses, weight, world=world)
    if not world.main:
        return
    table.write(nbest_columns(entries))
    if flagged := sum(entry.rests_on_unk for entry in entries):
        _say_rests_on_unk(flagged, len(entries), "hypotheses")


def _say_rests_on_unk(flagged: int, number: int, things: str) -> None:
    click.echo(
        f"Note: {flagged:,} of {number:,} {things} rest on words that the vocabulary lacks: one probability stands for "
        "all of them, so do not compare these scores with others.",
        err=True,
    )
