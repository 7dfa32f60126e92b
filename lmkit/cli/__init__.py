"""The command line: the only room that knows click. One file a command, imported when the command is called."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from lmkit.cli.groups import LazyGroup, no_underscores
from lmkit.cli.hints import no_such_option
from lmkit.cli.processes import check_processes, is_silent, says_mistake
from lmkit.console.terminal.streams import standard_streams
from lmkit.errors import FailedError, LmkitError, LmkitWarning
from lmkit.hardware import keep_freed_memory, wait_politely

__all__ = ["main"]

COMMANDS = {
    "train": "Train a model on a text.",
    "eval": "Measure a model: perplexity and bits in every unit.",
    "score": "Score text: surprisal of every token, word or line.",
    "compare": "Test whether one model is better than another.",
    "sample": "Generate text.",
    "inspect": "Look inside a model: gradients, memory, gates, dynamics.",
    "classify": "Train and use classifiers of texts.",
    "tokenize": "Show a text as tokens, or compare tokenizers on it.",
    "corpora": "List and describe the corpora that lmkit knows by name.",
    "info": "Show what a run folder holds.",
    "experiment": "Measure what the teaching of recurrent networks claims.",
    "sweep": "Train every combination of options, and rank them.",
    "doctor": "Check a run, or a corpus before training on it.",
    "completion": "Set up Tab completion: bash, zsh, fish.",
}
ALIASES = {"perplexity": "eval", "ppl": "eval", "generate": "sample", "surprisal": "score"}


class _Failure(click.ClickException):
    """An LmkitError as click shows it: one line on standard error, and the error's exit code."""

    def __init__(self, error: LmkitError) -> None:
        super().__init__(str(error))
        vars(self)["exit_code"] = error.exit_code  # click declares it for the class, and reads it from the instance


class _Group(LazyGroup):
    """All commands, and what holds for each: plain warnings, quiet pipes, errors as one sentence."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program. A closed pipe ends it quietly, whatever it was writing."""
        with standard_streams(), _plain_warnings():
            return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_voice(), _failures(), _quiet_pipes(), _hints():  # --help and --version write here
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _one_voice(), _failures(), _quiet_pipes(), _hints():
                result = super().invoke(ctx)
                sys.stdout.flush()
                return result
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "allocate" not in str(error):
                raise
            reason = str(error).strip().partition("\n")[0] or "it was all taken"
            raise _Failure(FailedError(f"There is not enough memory for this ({reason[:200]}).")) from error
        except ValueError as error:
            if "null byte" not in str(error):
                raise
            # no shell can give one, a program that calls this can
            ctx.fail("The name of a file holds a NUL byte, which none can have.")
        except KeyboardInterrupt:
            if not is_silent():
                click.echo("Interrupted.", err=True)
            ctx.exit(130)


@contextlib.contextmanager
def _hints() -> Iterator[None]:
    """An option that is not there comes with the one that was meant."""
    try:
        yield
    except click.NoSuchOption as error:
        raise click.UsageError(no_such_option(error), error.ctx) from error


@contextlib.contextmanager
def _one_voice() -> Iterator[None]:
    """A mistake that several processes have made is said by one of them."""
    try:
        yield
    except click.ClickException as error:
        if not says_mistake():
            raise SystemExit(error.exit_code) from error
        raise


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Errors that lmkit raises on purpose, in the form that click shows."""
    try:
        yield
    except LmkitError as error:
        raise _Failure(error) from error


@contextlib.contextmanager
def _quiet_pipes() -> Iterator[None]:
    """End with exit code 0 where a pipe was closed: whoever reads our output has seen enough."""
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show lmkit's own warnings as one line, without file and line of the code."""
    show = warnings.showwarning

    def show_plainly(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        if not issubclass(category, LmkitWarning):
            return show(message, category, *args, **kwargs)
        erase = "\r\x1b[2K" if sys.stderr.isatty() else ""  # a progress line may be there
        click.echo(f"{erase}Note: {message}", err=True)

    warnings.showwarning = show_plainly
    try:
        yield
    finally:
        warnings.showwarning = show


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import lmkit

        click.echo(f"lmkit {lmkit.__version__}")
        ctx.exit()


def _print_help(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Here ``--help`` is whole already."""
    if value and not ctx.resilient_parsing:
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


@click.group(
    cls=_Group,
    home="lmkit.cli",
    known=COMMANDS,
    aliases=ALIASES,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": no_underscores,
        "max_content_width": 110,
    },
)
@click.option("--help-all", is_flag=True, is_eager=True, expose_value=False, hidden=True, callback=_print_help)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Train, measure and use recurrent language models.

    \b
    lmkit train               a first model, on the embedded corpus
    lmkit train book.txt      on your own text
    lmkit eval book-1         its perplexity, in every unit
    lmkit sample book-1 It    the text that it writes
    """
    called = click.get_current_context().invoked_subcommand or ""
    check_processes(ALIASES.get(called, called))
    keep_freed_memory()
    wait_politely()
