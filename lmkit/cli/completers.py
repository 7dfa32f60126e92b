"""What the Tab key offers: run folders, corpora, presets, tokenizers. None of them loads torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_corpora", "complete_files", "complete_presets", "complete_runs", "complete_tokenizers"]

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
RUNS = "runs"


def complete_runs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Run folders by their paths, those in ``runs`` also by their names; folders where no run begins so."""
    typed = Path(incomplete)
    parent = typed if incomplete.endswith("/") else typed.parent
    names = [str(run) for folder in dict.fromkeys((parent, Path(RUNS))) for run in _runs_in(folder)]
    if incomplete and "/" not in incomplete:
        names += [run.name for run in _runs_in(Path(RUNS))]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


def complete_files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders."""
    return [CompletionItem(incomplete, type="file")]


def _runs_in(folder: Path) -> list[Path]:
    return sorted(config.parent for config in folder.glob("*/config.json"))


def _named(entries: Callable[[], Iterable[tuple[str, str | None]]], *, files: bool) -> Completer:
    """A completer of names with what each is; ``files`` where a path may be given instead."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=help) for name, help in entries() if name.startswith(incomplete)]
        # first: what comes after a file adds to it in bash, and not the other way round
        return [*(complete_files(ctx, parameter, incomplete) if files else []), *names]

    return complete


def _corpora() -> Iterable[tuple[str, str]]:
    from lmkit.text.sources.registry import load_registry

    return [(entry.name, entry.title) for entry in load_registry().values()]


def _presets() -> Iterable[tuple[str, None]]:
    from lmkit.presets.preset import preset_names

    return [(name, None) for name in preset_names()]


def _tokenizers() -> Iterable[tuple[str, None]]:
    from lmkit.text.tokenizers.kinds import TOKENIZERS

    return [(name, None) for name in TOKENIZERS]


complete_corpora = _named(_corpora, files=True)
complete_presets = _named(_presets, files=False)
complete_tokenizers = _named(_tokenizers, files=True)
