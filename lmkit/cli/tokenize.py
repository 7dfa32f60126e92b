"""``lmkit tokenize``: a text as tokens, and what each granularity costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli.completers import complete_corpora, complete_tokenizers
from lmkit.cli.options import Count as AtLeast
from lmkit.cli.options import SectionedCommand, progress_line
from lmkit.cli.processes import joined
from lmkit.distributed.launch import Launch

if TYPE_CHECKING:
    from lmkit.text.statistics import Count

__all__ = ["command"]

LOST = "Another process of this counting has ended: all end here."


@click.command(cls=SectionedCommand)
@click.argument("file", shell_complete=complete_corpora)
@click.option(
    "--tokenizer",
    shell_complete=complete_tokenizers,
    default="char",
    show_default=True,
    help="char, word or bpe (trained on the file), a tokenizer.json, or a run folder.",
)
@click.option("--vocab-size", type=AtLeast(4), help="Largest vocabulary.")
@click.option(
    "--stats",
    is_flag=True,
    help="Compare char, word and BPE: trained on the first 90 % of the text, applied to the rest.",
)
@click.option("--limit", type=AtLeast(1), default=200, show_default=True, help="Tokens to show.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one object per token, or with --stats one per tokenizer."
)
def command(file: str, tokenizer: str, vocab_size: int | None, stats: bool, limit: int, as_json: bool) -> None:
    """Show the tokens of a text, or compare tokenizers on it. Under torchrun several processes count it together."""
    with _counting(file) as (count, speaks):
        if stats:
            _compare(file, vocab_size, count, as_json=as_json, speaks=speaks)
        else:
            _show(file, tokenizer, vocab_size, limit, count, as_json=as_json, speaks=speaks)


@contextmanager
def _counting(file: str) -> Iterator[tuple[Count, bool]]:
    """How a split is counted, and whether this process says what was found: from its token file, and without torch; by
    several processes each in its share, and the first of them speaks.
    """
    from lmkit.text.statistics import counts_of

    if Launch.read().size == 1:
        yield counts_of, True
        return
    from lmkit.config import DataConfig
    from lmkit.evaluation.shared_text import count_together
    from lmkit.text.cut_text import open_cut

    with joined(LOST) as world:
        world.check_same({"command line": click.get_current_context().params})
        with world.together():
            world.check_readable_by_all(file)
            with open_cut(DataConfig(corpus=file, valid_fraction=0.0, test_fraction=0.0)):
                pass  # every process can
        yield partial(count_together, world=world), world.main


def _compare(file: str, vocab_size: int | None, count: Count, *, as_json: bool, speaks: bool) -> None:
    from lmkit.console.tables import show_statistics
    from lmkit.text.statistics import tokenizer_statistics

    line = progress_line()
    rows = tokenizer_statistics(file, vocab_size=vocab_size, progress=line, count=count)
    line.end()
    if not speaks:
        return
    if as_json:
        for row in rows:
            names = ("kind", "vocab_size", "tokens", "words", "tokens_per_word", "chars_per_token", "oov", "oov_rate")
            click.echo(json.dumps({name: getattr(row, name) for name in names}))
    else:
        show_statistics(rows)


def _show(
    file: str, name: str, vocab_size: int | None, limit: int, count: Count, *, as_json: bool, speaks: bool
) -> None:
    from lmkit.config import DataConfig
    from lmkit.console.tables import show_tokens
    from lmkit.errors import ConfigError
    from lmkit.files import exists, is_folder
    from lmkit.text.cut_text import open_cut
    from lmkit.text.shares import first_ids
    from lmkit.text.tokenizers.kinds import TOKENIZERS, load_tokenizer

    path = Path(name)
    known = None
    if name not in TOKENIZERS and exists(path):
        if vocab_size is not None:
            raise ConfigError("--vocab-size cannot change a tokenizer that exists already: leave it out.")
        known = load_tokenizer(path / "tokenizer.json" if is_folder(path) else path)
    data = DataConfig(
        corpus=file, tokenizer="char" if known else name, vocab_size=vocab_size, valid_fraction=0.0, test_fraction=0.0
    )
    line = progress_line()
    with open_cut(data, progress=line) as text:
        tokenizer = known or text.tokenizer()
        counts = count(text, "train", tokenizer)
        ids = first_ids(text.slices["train"], tokenizer, limit)
    line.end()
    if not speaks:
        return
    shown = [(id, tokenizer.id_to_token(id)) for id in ids]
    if as_json:
        for id, token in shown:
            click.echo(json.dumps({"id": id, "token": token}))
    else:
        show_tokens(shown, counts.tokens, counts.oov, tokenizer.vocab_size)
