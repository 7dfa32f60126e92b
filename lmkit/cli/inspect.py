"""``lmkit inspect``: what goes on inside a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
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
    use_runtime,
)
from lmkit.cli.runs import only_run

if TYPE_CHECKING:
    from lmkit.api import TrainedModel
    from lmkit.inspection.finding import Finding
    from lmkit.inspection.inspector import Text

__all__ = ["command"]


class _Request(NamedTuple):
    """What to look at, and how closely; None where nothing was chosen."""

    lm: TrainedModel
    text: Text
    lags: int | None
    token: str | None
    steps: int | None


def _sensitivity(asked: _Request) -> Finding:
    return asked.lm.inspect.sensitivity(asked.text, **_given(lags=asked.lags))


def _influence(asked: _Request) -> Finding:
    from lmkit.inspection.gradients.influence import Influence

    lm = asked.lm
    names = [lm.tokenizer.id_to_token(int(id)) for id in (lm.tokenizer.eos_id, *lm.inspect.ids(asked.text))]
    return Influence(tuple(names[:-1]), tuple(names[1:]), lm.inspect.influence(asked.text))


def _context(asked: _Request) -> Finding:
    return asked.lm.inspect.context(asked.text, **_given(lengths=_spread(asked.lags)[1:]))


def _memory(asked: _Request) -> Finding:
    return asked.lm.inspect.memory(asked.text, **_given(lags=_spread(asked.lags)))


def _spectra(asked: _Request) -> Finding:
    from lmkit.inspection.gradients.norms import gradient_norms
    from lmkit.inspection.gradients.spectra import Spectra
    from lmkit.run.directory import RunDirectory

    assert asked.lm.run is not None, "the command opens a run"
    records = RunDirectory(asked.lm.run.path).metrics().records
    norms = gradient_norms(records, asked.lm.config.training.max_grad_norm)
    return Spectra(tuple(asked.lm.inspect.spectra()), norms)


def _gates(asked: _Request) -> Finding:
    return asked.lm.inspect.gates(asked.text)


def _dynamics(asked: _Request) -> Finding:
    return asked.lm.inspect.dynamics(asked.token, **_given(steps=asked.steps, transient=asked.steps))


def _forgetting(asked: _Request) -> Finding:
    return asked.lm.inspect.forgetting(asked.text, **_given(length=asked.lags))


def _given(**options: Any) -> dict[str, Any]:
    """The options that have a value; the others keep their defaults."""
    return {name: value for name, value in options.items() if value}


def _spread(largest: int | None) -> tuple[int, ...]:
    from lmkit.inspection.inspector import spread_lags

    return () if largest is None else spread_lags(largest)


class _View(NamedTuple):
    """What looks, whether it reads a text, and the options that it takes beside those of the text."""

    look: Callable[[_Request], Finding]
    reads: bool
    options: tuple[str, ...]
    most_tokens: int = 10_000


VIEWS: dict[str, _View] = {
    "sensitivity": _View(_sensitivity, True, ("lags",)),
    "influence": _View(_influence, True, (), 60),
    "context": _View(_context, True, ("lags",)),
    "memory": _View(_memory, True, ("lags",)),
    "forgetting": _View(_forgetting, True, ("lags",)),
    "spectra": _View(_spectra, False, ()),
    "gates": _View(_gates, True, ("values",)),
    "dynamics": _View(_dynamics, False, ("token", "steps")),
}
TEXT_OPTIONS = ("text", "file", "split", "max_tokens")


@click.command(cls=SectionedCommand)
@click.argument("run", type=click.Path(path_type=Path), required=False, shell_complete=complete_runs)
@click.argument("what", required=False, metavar=f"[{'|'.join(VIEWS)}]")
@click.option("--text", help="Look at this text.")
@click.option(
    "--file", "file", shell_complete=complete_files, help="Look at a file, a .gz, a folder, or - for standard input."
)
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    help="Split to look at (default: test if there is one, else valid).",
)
@click.option(
    "--max-tokens", type=Count(1), help="Read at most this many tokens of the text.  [default: 10000, influence: 60]"
)
@click.option("--lags", type=Count(1), help="How far back to look, or for forgetting how far ahead, in tokens.")
@click.option(
    "--token",
    help="With dynamics: the token that is repeated (default: a space, `the`, or the first of the vocabulary).",
)
@click.option(
    "--steps",
    type=Count(10),
    help="With dynamics: steps to settle in, and as many for the Lyapunov exponent (default: 1,000 and 10,000).",
)
@click.option("--values", is_flag=True, default=None, help="With gates --json: the values at every token, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@checkpoint_option
@runtime_options
def command(
    run: Path | None,
    what: str | None,
    as_json: bool,
    checkpoint: str,
    device: str | None,
    threads: int | None,
    **given: Any,
) -> None:
    """Look inside a model.

    \b
    sensitivity   gradient of the loss by lag, before and after training
    influence     how much each token weighs in each prediction of a text
    context       loss with less and less of the text before a token
    memory        how well a linear probe reads earlier tokens from the state
    forgetting    how fast different pasts become equal over the same text
    spectra       eigenvalues, singular values; gradient norms of the training
    gates         gates, states, attention; units that follow quotes, lines
    dynamics      fixed point, cycle or chaos under a constant token
    """
    line = progress_line()
    from lmkit.api import load_language_model
    from lmkit.console.inspection import show_finding

    run, what = _what(run, what)
    view = VIEWS[what]
    _check(what, view, given, as_json)
    lm = load_language_model(run, use_runtime(device, threads), checkpoint)
    lm.progress = line
    name, text = _text(lm, given, view.most_tokens) if view.reads else ("", ())
    finding = view.look(_Request(lm, text, given["lags"], given["token"], given["steps"]))
    tokens = len(lm.inspect.ids(text)) if view.reads else 0
    line.end()
    if as_json:
        click.echo(json.dumps(_values(what, name, tokens, finding, bool(given["values"]))))
    else:
        show_finding(finding, name=name, tokens=tokens, tokenizer=lm.tokenizer, file=sys.stdout)


def _what(run: Path | None, what: str | None) -> tuple[Path, str]:
    """The run and the view; a view alone is of the only run that there is. Raises ConfigError for an unknown one."""
    from lmkit.errors import ConfigError

    if what is None and run is not None and str(run) in VIEWS:
        run, what = None, str(run)
    if what not in VIEWS:
        named = "" if what is None else f"There is nothing to inspect that is called {what!r}. "
        raise ConfigError(f"{named}Name what to look at, as in `lmkit inspect RUN gates`: {', '.join(VIEWS)}.")
    return run or only_run(f"inspect RUN {what}"), what


def _check(what: str, view: _View, given: dict[str, Any], as_json: bool) -> None:
    """Raise ConfigError for an option that this view does not take."""
    from lmkit.errors import ConfigError

    taken = view.options + (TEXT_OPTIONS if view.reads else ())
    for name in (name for name, value in given.items() if value is not None and name not in taken):
        users = [other for other, one in VIEWS.items() if name in one.options or (one.reads and name in TEXT_OPTIONS)]
        raise ConfigError(f"{what} takes no --{name.replace('_', '-')}: it is for {', '.join(users)}.")
    if given["values"] and not as_json:
        raise ConfigError("--values needs --json: a table of every unit at every token fits no terminal.")
    texts = [f"--{name}" for name in ("text", "file", "split") if given[name] is not None]
    if len(texts) > 1:
        raise ConfigError(f"Give one text: {' or '.join(texts)}.")


def _text(lm: TrainedModel, given: dict[str, Any], most: int) -> tuple[str, Text]:
    """The name of a text, and what is read of it, at most so many tokens: the string that was given, or ids."""
    most = given["max_tokens"] or most
    if (text := given["text"]) is not None:
        _, spans = lm.tokenizer.encode_with_offsets(text)
        return "text", text[: spans[:most][-1][1]] if len(spans) else text
    if given["file"] is not None:
        return given["file"], lm.file_tokens(given["file"]).ids[:most]
    name, tokens = lm.split_tokens(given["split"])
    return name, tokens.ids[:most]


def _values(what: str, name: str, tokens: int, finding: Finding, values: bool) -> dict[str, Any]:
    from lmkit.inspection.activity.gates import Gates

    found = finding.summary() if isinstance(finding, Gates) and not values else finding.to_dict()
    return {"what": what, **({"text": name, "num_tokens": tokens} if name else {}), **found}
