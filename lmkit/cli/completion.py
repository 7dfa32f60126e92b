"""``lmkit completion``: the Tab key in bash, zsh and fish."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NamedTuple

import click
from click.shell_completion import get_completion_class

from lmkit.cli.options import SectionedCommand
from lmkit.errors import ConfigError, FailedError
from lmkit.files import replace_file

__all__ = ["command"]

SHELLS = ("bash", "zsh", "fish")
# Without its own completions switched on, zsh has no compdef.
ZSH_HEAD = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"


@click.command(cls=SectionedCommand)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--install", is_flag=True, help="Write the script, and a line that reads it into the start-up file.")
def command(shell: str | None, install: bool) -> None:
    """Complete commands, options, run folders, corpora and presets by the Tab key.

    \b
    lmkit completion --install    for the shell that you use
    lmkit completion bash         print the script, to put where you like
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        raise ConfigError("Name the shell, as in `lmkit completion bash --install`: bash, zsh or fish.")
    script = _script(chosen, click.get_current_context().find_root().command)
    if not install:
        click.echo(script, nl=False)
        return
    paths = _Paths.of(chosen)
    try:
        _install(script, paths)
    except OSError as error:
        raise FailedError(f"Cannot write {error.filename}: {error.strerror or error}.") from error
    click.echo(f"Completion for {chosen} is in {paths.script}. Open a new shell to use it.")


class _Paths(NamedTuple):
    """Where the script goes, and the start-up file that is to read it; None for fish, which looks there by itself."""

    script: Path
    startup: Path | None

    @classmethod
    def of(cls, shell: str) -> _Paths:
        try:
            home = Path.home()
        except RuntimeError as error:
            raise ConfigError(
                f"There is no home folder to install into: put what `lmkit completion {shell}` prints where your shell "
                "reads it."
            ) from error
        if shell == "fish":
            config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
            return cls(config / "fish" / "completions" / "lmkit.fish", None)
        startup = home / ".bashrc" if shell == "bash" else Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        return cls(data / "lmkit" / f"completion.{shell}", startup)


def _script(shell: str, root: click.Command) -> str:
    kind = get_completion_class(shell)
    assert kind is not None
    source = kind(root, {}, "lmkit", "_LMKIT_COMPLETE").source()
    return (ZSH_HEAD if shell == "zsh" else "") + source.rstrip() + "\n"


def _install(script: str, paths: _Paths) -> None:
    """Write the script, and once the line that reads it."""
    paths.script.parent.mkdir(parents=True, exist_ok=True)
    replace_file(paths.script, script.encode("utf-8"))
    if paths.startup is None:
        return
    line = f"source {shlex.quote(str(paths.script))}"
    there = paths.startup.read_bytes() if paths.startup.exists() else b""
    if line.encode() in there.splitlines():
        return
    with open(paths.startup, "ab") as file:
        file.write((b"" if there.endswith(b"\n") or not there else b"\n") + f"{line}\n".encode())
