"""``lmkit train``: a text in, a run folder with a trained model out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.completers import complete_corpora, complete_presets
from lmkit.cli.options import (
    SectionedCommand,
    chosen,
    chosen_options,
    config_options,
    make_config,
    run_options,
    section_options,
)
from lmkit.cli.processes import joined, loading, signal_seen
from lmkit.cli.training import report, train_to_the_end
from lmkit.config import Config, FineTuning
from lmkit.errors import ConfigError
from lmkit.files import exists
from lmkit.presets.preset import preset_names

if TYPE_CHECKING:
    from lmkit.distributed.world import World
    from lmkit.session.tuning.origin import Origin

__all__ = ["command"]

LOST = "Another process of this training has ended: all end here. --resume goes on from the last checkpoint."
SHORT = (
    "tokenizer",
    "cell",
    "num_layers",
    "hidden_size",
    "dropout",
    "lr",
    "epochs",
    "max_seconds",
    "seed",
    "device",
    "preset",
    "out",
    "init_from",
    "resume",
)
FINE_TUNING = tuple(item.name for item in dataclasses.fields(FineTuning))


@click.command(cls=SectionedCommand, short=SHORT)
@click.argument("texts", metavar="[TEXT]", nargs=-1, shell_complete=complete_corpora)
@config_options
@section_options(FineTuning, "Fine-tuning", FINE_TUNING)
@click.option("--preset", shell_complete=complete_presets, help="Start from a preset: see `lmkit info --presets`.")
@run_options("corpus")
def command(
    texts: tuple[str, ...],
    preset: str | None,
    config_file: Path | None,
    out: Path | None,
    resume: Path | None,
    allow_inexact: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a language model on a text: a file, a folder, - for standard input, or a name from `lmkit corpora`.

    Without a text it trains on the embedded corpus. Ctrl-C and SIGTERM save the run and end; `lmkit train --resume
    RUN` continues it, after a crash too. `lmkit train TEXT --init-from RUN` fine-tunes a run's model on another text.
    Option names of older toolkits (--nhid, --emsize, --bptt, --learning-rate) are taken as well.
    """
    given["corpus"] = _corpus(texts, given["corpus"])
    if resume is not None and (preset, config_file, out) != (None, None, None):
        raise ConfigError("--resume takes no --preset, --config or --out: the run has its own.")
    if resume is None and allow_inexact:
        raise ConfigError("--allow-inexact needs --resume.")
    start = FineTuning(**chosen(FineTuning, given))
    given = {name: value for name, value in given.items() if name not in FINE_TUNING}
    if resume is not None and start.init_from is not None:
        raise ConfigError("--resume takes no --init-from: the run has its own weights.")
    config = make_config(preset, config_file, given) if resume is None and start.init_from is None else None
    with loading():
        from lmkit.console.training import TrainingDisplay
        from lmkit.session.session import Session
        from lmkit.session.tuning.origin import Origin

    with joined(LOST) as world:
        world.check_same({"command line": click.get_current_context().params})
        origin = None
        if start.init_from is not None:
            with world.together():
                origin = Origin.open(start)
                config = origin.configure(chosen_options(preset, config_file, given))
        if not world.main:
            raise SystemExit(_follow(world, config, origin))
        with TrainingDisplay() as display:
            listeners: dict[str, Any] = {"progress": display.line, "warn": display.say, "note": display.note}
            if config is not None:
                session = Session.begin(config, out, origin=origin, world=world, **listeners)
            else:
                changes = {name: value for name, value in given.items() if value is not None}
                how: dict[str, Any] = {"allow_inexact": allow_inexact, "world": world, **listeners}
                session = Session.resume(resume or Path(), changes, **how)
            with session:
                ended = train_to_the_end(session, display)
    report(session, ended, display, as_json=as_json)


def _follow(world: World, config: Config | None, origin: Origin | None) -> int:
    """Train in a process that is not the first; its exit code. config: None where a run is resumed."""
    from lmkit.session.language.kind import LANGUAGE_MODELS
    from lmkit.session.processes.follower import Follower

    if config is None:
        follower = Follower.resume(LANGUAGE_MODELS, world)
    else:
        follower = Follower.begin(LANGUAGE_MODELS, config, world, origin=origin)
    return follower.run(signal_seen())


def _corpus(texts: tuple[str, ...], corpus: str | None) -> str | None:
    """The text, given as an argument or as --corpus."""
    if not texts:
        return corpus
    if len(texts) > 1:
        raise ConfigError(
            "Give one text: a file, or a folder of texts; for several files use `cat ... | lmkit train -`."
        )
    (text,) = texts
    if corpus is not None:
        raise ConfigError(f"Give the text once: {text} or --corpus {corpus}, not both.")
    path = Path(text)
    if exists(path / "config.json") and exists(path / "tokenizer.json"):
        raise ConfigError(
            f"{text} is a run, not a text: `lmkit train --resume {text}` continues it, and `lmkit train TEXT "
            f"--init-from {text}` fine-tunes it."
        )
    if text in preset_names() and not exists(path):
        raise ConfigError(f"{text} is a preset, not a text: `lmkit train TEXT --preset {text}`.")
    return text
