"""The command line: the only room that knows click. One file a command, imported when the command is called."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any

import click

from lmkit.errors import LmkitError
from lmkit.hardware import keep_freed_memory, wait_politely

__all__ = ["main"]

COMMANDS = {
    "train": "Train a model on a text.",
    "eval": "Measure a model: perplexity and bits in every unit.",
    "sample": "Let a model write text.",
    "tokenize": "Show a text as tokens, or compare tokenizers on it.",
    "corpora": "List and describe the corpora that lmkit knows by name.",
    "info": "Show what a run folder holds.",
}
ALIASES = {"perplexity": "eval", "ppl": "eval", "generate": "sample"}


class _Failure(click.ClickException):
    """An LmkitError as click shows it: one line on standard error, and the error's exit code."""

    def __init__(self, error: LmkitError) -> None:
        super().__init__(str(error))
        vars(self)["exit_code"] = error.exit_code  # click declares it for the class, and reads it from the instance


class _Group(click.Group):
    """Loads a command's module when it is called, so that ``lmkit --help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"lmkit.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LmkitError as error:
            raise _Failure(error) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # whoever reads our output has seen enough; later flushes of the closed pipe must not complain either
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


def _no_underscores(name: str) -> str:
    return name.replace("_", "-")


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import lmkit

        click.echo(f"lmkit {lmkit.__version__}")
        ctx.exit()


@click.group(
    cls=_Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _no_underscores,
        "max_content_width": 110,
    },
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Train, measure and use recurrent language models.

    \b
    lmkit train                            a first model, on the embedded corpus
    lmkit train --corpus book.txt          on your own text
    lmkit eval runs/book-1                 its perplexity, in every unit
    lmkit sample runs/book-1 --prompt "It" what it writes
    """
    keep_freed_memory()
    wait_politely()
