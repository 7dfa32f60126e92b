"""What a mistyped command line should have been: options of other toolkits, and names that are nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import click

from lmkit.files import is_file

__all__ = ["no_such_command", "no_such_option"]

FROM_A_RUN = "use --init-from RUN to fine-tune a run's model, --resume RUN to continue the run."
# Options that people know from other programs, with what to write here. Two that can mean one thing only, --gpu and
# --max-minutes, are taken.
HINTS = {
    **dict.fromkeys(("--init", "--pretrained", "--finetune", "--restore", "--load"), FROM_A_RUN),
    **dict.fromkeys(("--max-hours", "--hours"), "use --max-seconds; an hour has 3600."),
    **dict.fromkeys(("--minutes", "--time"), "use --max-seconds, or --max-minutes."),
    **dict.fromkeys(("--output", "--out-dir", "--save", "--save-dir", "--name", "--run-name"), "use --out FOLDER."),
    **dict.fromkeys(
        ("--text", "--input", "--train-file", "--dataset"), "give the text first, as in `lmkit train TEXT`."
    ),
    **dict.fromkeys(("--run", "--model-dir", "--model-path"), "give the run first, as in `lmkit eval RUN`."),
    **dict.fromkeys(("--num-samples", "--samples", "--count", "-n"), "use --num."),
    **dict.fromkeys(("--beam", "--beam-size", "--num-beams"), "texts are drawn; --temperature 0 takes the likeliest."),
    **dict.fromkeys(("--transformer", "--gpt"), "use --cell transformer."),
    **dict.fromkeys(("--n-head", "--num-heads", "--nhead"), "use --heads."),
    **dict.fromkeys(("--fp16", "--half", "--bf16", "--amp"), "use --precision."),
}


def no_such_option(error: click.NoSuchOption) -> str:
    """The sentence for an option that a command does not have."""
    name, path = error.option_name, error.ctx.command_path if error.ctx is not None else "lmkit"
    known = [] if error.ctx is None else _options(error.ctx)
    hint = HINTS.get(name, "")
    # a hint that names an option helps where the command has it
    if not hint or not all(word.strip(",.;:") in known for word in hint.split() if word.startswith("--")):
        bare = {option.lstrip("-"): option for option in known}
        close = difflib.get_close_matches(name.lstrip("-"), bare, n=1)
        hint = f"did you mean {bare[close[0]]}?" if close else f"`{path} --help-all` lists them."
    return f"There is no option {name}: {hint}"


def no_such_command(name: str, known: Iterable[str], shown: Iterable[str]) -> str:
    """The sentence for a command that lmkit does not have."""
    if is_file(Path(name)):
        return f"{name} is a file, not a command: to train on it, `lmkit train {name}`."
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(shown)}."
    return f"There is no command {name!r}: {hint}"


def _options(context: click.Context) -> list[str]:
    parameters = context.command.get_params(context)
    return [name for one in parameters for name in (*one.opts, *one.secondary_opts) if name.startswith("-")]
