"""``lmkit tokenize``: a text as tokens, and what each granularity costs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lmkit.cli.completers import complete_corpora, complete_tokenizers
from lmkit.cli.options import Count, SectionedCommand, progress_line

__all__ = ["command"]


@click.command(cls=SectionedCommand)
@click.argument("file", shell_complete=complete_corpora)
@click.option(
    "--tokenizer",
    shell_complete=complete_tokenizers,
    default="char",
    show_default=True,
    help="char, word or bpe (trained on the file), a tokenizer.json, or a run folder.",
)
@click.option("--vocab-size", type=Count(4), help="Largest vocabulary.")
@click.option(
    "--stats",
    is_flag=True,
    help="Compare char, word and BPE: trained on the first 90 % of the text, applied to the rest.",
)
@click.option("--limit", type=Count(1), default=200, show_default=True, help="Tokens to show.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one object per token, or with --stats one per tokenizer."
)
def command(file: str, tokenizer: str, vocab_size: int | None, stats: bool, limit: int, as_json: bool) -> None:
    """Show the tokens of a text, or compare tokenizers on it."""
    if stats:
        _compare(file, vocab_size, as_json)
    else:
        _show(file, tokenizer, vocab_size, limit, as_json)


def _compare(file: str, vocab_size: int | None, as_json: bool) -> None:
    from lmkit.console.tables import show_statistics
    from lmkit.text.statistics import tokenizer_statistics

    line = progress_line()
    rows = tokenizer_statistics(file, vocab_size=vocab_size, progress=line)
    line.end()
    if as_json:
        for row in rows:
            names = ("kind", "vocab_size", "tokens", "words", "tokens_per_word", "chars_per_token", "oov", "oov_rate")
            click.echo(json.dumps({name: getattr(row, name) for name in names}))
    else:
        show_statistics(rows)


def _show(file: str, name: str, vocab_size: int | None, limit: int, as_json: bool) -> None:
    from lmkit.config import DataConfig
    from lmkit.console.tables import show_tokens
    from lmkit.errors import ConfigError
    from lmkit.files import exists, is_folder
    from lmkit.text.corpus import build_corpus
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
    corpus = build_corpus(data, tokenizer=known, progress=line)
    line.end()
    tokens = corpus.splits["train"]
    shown = [(int(id), corpus.tokenizer.id_to_token(int(id))) for id in tokens.ids[:limit]]
    if as_json:
        for id, token in shown:
            click.echo(json.dumps({"id": id, "token": token}))
    else:
        show_tokens(shown, len(tokens), tokens.counts.oov, corpus.tokenizer.vocab_size)
