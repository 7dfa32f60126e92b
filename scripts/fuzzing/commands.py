"""Command lines: plausible ones, made from the options that click knows, with values that are right, at a border or
absurd.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from fuzzing.material import RUNS, SMALL
from lmkit.cli.options import Count

__all__ = ["CommandLine", "draw_command"]

COMMANDS = (
    *("train", "eval", "score", "compare", "sample", "tokenize", "corpora", "info", "doctor"),
    *("classify train", "classify eval", "classify predict", "classify compare"),
)
WEIGHTS = (20, 18, 14, 10, 12, 10, 4, 5, 10, 10, 8, 10, 6)
TEXTS = ("text.txt", "other.txt", "text.txt.gz", "folder", "texts", "bom.txt", "crlf.txt", "-", "unknown.txt")
ODD_TEXTS = (
    "empty.txt",
    "latin.txt",
    "nul.txt",
    "blank.txt",
    "one.txt",
    "cut.txt.gz",
    "pipe.txt",
    "dangling",
    "run",
    "",
    "no-such.txt",
    "folder/valid.txt",
    "/dev/null",
    "/dev/zero",
    "/proc/self/mem",
    "text.txt/",
    "~nobody/x",
    "x" * 300,
    "copy:500",
    "markov:300",
    "brackets:0",
    "copy:" + "9" * 20,
    "markov:x",
    "a/b",
    "pydocs",
    "..",
    "run/model.safetensors",
)
RUN_NAMES = (*RUNS, *RUNS, "linked", "nowhere", "text.txt", "folder", "", ".", "pipe.txt", "/dev/null")
STRINGS = (
    "",
    " ",
    "the cat",
    "\u65e5\u672c",
    "\x00",
    "\udcff",
    "\U0001f600" * 3,
    "[/red]",
    "a" * 500,
    "\n",
    "\r\n",
    "<eos>",
)
WHOLE = (1, 2, 3, 4, 5, 7, 8, 16, 32)
ABSURD_WHOLE = (
    "0",
    "-1",
    "65537",
    "1000000000",
    "9" * 19,
    "9" * 40,
    "1.5",
    "nan",
    "x",
    "",
    "1e3",
    "0x10",
    "1_0",
    "٣",
)
FRACTIONS = ("0.1", "0.5", "1e-3", "0.01", "0.9", "1", "2")
ABSURD_FRACTIONS = ("0", "-1", "nan", "inf", "-inf", "1e400", "1e-320", "1e308", "", "x", "-0.0", "9" * 400)
# Large ones only take their time.
BOUNDED = ("max_steps", "epochs", "max_seconds", "max_minutes", "length", "num", "threads")
NOT_A_NUMBER = ("0", "-1", "x", "", "nan", "1.5")
OUT = ("out", "new/deep/out", "text.txt/out", "run", ".", "", "out\x00", "dangling", "pipe.txt", "x" * 300, "/proc/out")
NAMED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "corpus": (TEXTS, ODD_TEXTS),
    "file": (TEXTS, ODD_TEXTS),
    "text": (TEXTS, (*ODD_TEXTS, *RUN_NAMES)),
    "words": (("The", "cat"), STRINGS),
    "files": (TEXTS, ODD_TEXTS),
    "nbest": (("nbest.txt", "-"), ("bad.nbest", *ODD_TEXTS)),
    "tokenizer": (("char", "word", "bpe", "run/tokenizer.json", "bpe/tokenizer.json", "run"), ODD_TEXTS),
    "arpa": (("char.arpa",), ODD_TEXTS),
    "mix": (("run", "linked"), RUN_NAMES),
    "run": (("run", "gru", "word", "bpe"), RUN_NAMES),
    "runs": (("run", "gru", "word", "bpe"), RUN_NAMES),
    "config_file": (("config.toml",), ("bad.toml", "wrong.toml", *ODD_TEXTS)),
    "preset": (("shakespeare-2min",), ("", "no-such", "../presets/x", "\x00")),
    "out": (("out",), OUT),
    "resume": (("run", "gru", "word", "bpe"), RUN_NAMES),
    "checkpoint": (("best", "last", "3", "6"), ("", "x", "-1", "4", "9" * 40, "../run", "\x00")),
    "name": (("pydoc", "wikitext-2", "copy"), ("", "pydocs", "\x00", "[/x]")),
    "columns": (("token,logprob", "all", "logprob"), ("", ",", "rank,entropy", "no-such", "logprob,logprob")),
    "cutoffs": (("3,9", "2"), ("9,3", "0", "-1,4", "1000000000", "", ",", "9" * 30, "3,3")),
}


TABLES = ("labels.csv", "labels.tsv", "labels.jsonl", "labels.csv.gz", "more.csv")
ODD_TABLES = ("ragged.csv", "quote.csv", "one-label.csv", "strange.csv", "-", "text.txt", "markov:300", *ODD_TEXTS)
LABELLED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # of the commands for classifiers
    "corpus": (TABLES, ODD_TABLES),
    "data": (TABLES, ODD_TABLES),
    "valid": (TABLES, ODD_TABLES),
    "file": ((*TABLES, "text.txt", "-"), ODD_TABLES),
    "encoder": (("word", "word", "none", "run", "gru"), (*RUN_NAMES, "labels")),
    "run": (("labels",), (*RUN_NAMES, "labels.csv")),
    "runs": (("labels", "other-labels"), RUN_NAMES),
    "resume": (("labels",), RUN_NAMES),
    "text_column": (("text",), ("label", "id", "", *STRINGS)),
    "label_column": (("label",), ("text", "id", "", *STRINGS)),
    "columns": (("id", "all", "id,label"), ("", ",", "predicted", "no-such", "id,id")),
}


class CommandLine(NamedTuple):
    """The arguments, what stands on standard input, and the name of the command."""

    arguments: list[str]
    stdin: bytes
    command: str


def draw_command(draw: random.Random, stdin_texts: dict[str, bytes]) -> CommandLine:
    """A command line, the same for the same state of ``draw``."""
    name = draw.choices(COMMANDS, WEIGHTS)[0]
    command = _command(name)
    odds = draw.choice((0.0, 0.0, 0.15, 0.5))  # of an absurd value
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    arguments: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            arguments += _positional(draw, parameter, name, odds)
    chosen = draw.sample(options, min(len(options), draw.choice((0, 1, 1, 2, 3, 5))))
    for option in chosen:
        arguments += _option(draw, option, name, odds)
    if name.endswith("train") and draw.random() < 0.2:
        arguments = _resumed(draw, name, odds)
    elif name.endswith("train"):
        arguments = _bounded(draw, arguments, TABLES if name == "classify train" else TEXTS)
    elif name in ("sample", "doctor", "eval", *COMMANDS[-3:]) and draw.random() < 0.9:
        arguments = [*arguments, "--threads", "1"] if "--threads" not in arguments else arguments
    if name == "sample" and "--length" not in arguments:
        arguments += ["--length", str(draw.choice((1, 5, 40)))]
    arguments = _spoil(draw, arguments) if draw.random() < 0.15 else arguments
    alias = {"eval": ("eval", "perplexity", "ppl"), "sample": ("sample", "generate"), "score": ("score", "surprisal")}
    words = [*draw.choice(alias.get(name, (name,))).split(), *arguments]
    return CommandLine(words, stdin_texts[draw.choice(sorted(stdin_texts))], name)


def _command(name: str) -> click.Command:
    import importlib

    found: click.Command = importlib.import_module(f"lmkit.cli.{name.replace(' ', '.')}").command
    return found


def _positional(draw: random.Random, argument: click.Argument, command: str, odds: float) -> list[str]:
    usual = {1: 1, -1: draw.choice((2, 2, 3) if command.endswith("compare") else (1, 1, 2))}[argument.nargs]
    if command == "doctor" and draw.random() < 0.5:
        return ["--corpus", _named(draw, "corpus", command, odds)]
    if command.endswith("train"):  # the text is drawn with what bounds the training
        return []
    if argument.name in ("name", "text", "words") and draw.random() < 0.5:
        return []
    number = usual if draw.random() > odds / 3 else draw.choice((0, 1, 2, 5))
    found = [_named(draw, argument.name or "", command, odds) for _ in range(number)]
    needs_data = argument.name in ("run", "runs") and command in ("classify eval", "classify compare")
    return [*found, "--data", _named(draw, "data", command, odds)] if needs_data else found


def _named(draw: random.Random, name: str, command: str, odds: float) -> str:
    right, wrong = _names_of(command)[name]
    return draw.choice(wrong if draw.random() < odds else right)


def _names_of(command: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {**NAMED, **LABELLED} if command.startswith("classify") else NAMED


def _option(draw: random.Random, option: click.Option, command: str, odds: float) -> list[str]:
    flags = [*option.opts, *option.secondary_opts]
    flag = draw.choice(flags)
    if option.is_flag:
        return [flag]
    value = _value(draw, option, command, odds)
    given = [f"{flag}={value}"] if flag.startswith("--") and draw.random() < 0.2 else [flag, value]
    return given * 2 if draw.random() < 0.05 else given


def _value(draw: random.Random, option: click.Option, command: str, odds: float) -> str:
    absurd = draw.random() < odds
    name = option.name or ""
    if name in _names_of(command):
        return _named(draw, name, command, odds)
    kind = option.type
    if isinstance(kind, click.Choice):
        wrong: tuple[str, ...] = ("", "x", str(kind.choices[0]).upper(), " ")
        return draw.choice(wrong) if absurd else str(draw.choice(list(kind.choices)))
    if isinstance(kind, (click.types.IntParamType, Count)):
        if name == "resamples" and not absurd:
            return str(draw.choice((100, 200)))
        right = str(draw.choice(WHOLE))
        return draw.choice(NOT_A_NUMBER if name in BOUNDED else ABSURD_WHOLE) if absurd else right
    if isinstance(kind, (click.types.FloatParamType, click.FloatRange)):
        return draw.choice(NOT_A_NUMBER if name in BOUNDED else ABSURD_FRACTIONS) if absurd else draw.choice(FRACTIONS)
    return draw.choice(STRINGS)


def _bounded(draw: random.Random, arguments: list[str], texts: tuple[str, ...]) -> list[str]:
    """A training that ends: tiny unless the drawn options, which come later, say otherwise."""
    text = draw.choice(texts)
    corpus = [] if "--corpus" in arguments else draw.choice((["--corpus", text], [text]))
    out = [] if draw.random() < 0.3 else ["--out", "out"]
    return [*SMALL, *corpus, *out, "--eval-every", "2", *arguments, "--max-steps", str(draw.choice((1, 3)))]


def _resumed(draw: random.Random, command: str, odds: float) -> list[str]:
    """A resume, with options of which some may change and others not."""
    may: list[list[str]] = [
        ["--max-steps", "8"],
        ["--epochs", "1"],
        ["--allow-inexact"],
        ["--json"],
        ["--threads", "1"],
    ]
    may += [["--checkpoint-every", "2"], ["--checkpoint-seconds", "0"], ["--keep-checkpoints", "1"]]
    may_not = [["--hidden-size", "9"], ["--lr", "1"], ["--threads", "2"], ["--out", "out"], ["--corpus", "other.txt"]]
    chosen = draw.sample(may, draw.choice((0, 1, 2))) + draw.sample(may_not, int(draw.random() < odds))
    return ["--resume", _named(draw, "resume", command, odds), *(word for words in chosen for word in words)]


def _spoil(draw: random.Random, arguments: list[str]) -> list[str]:
    """Something is missing, twice there, in another place, or does not belong."""
    changes: list[Callable[[list[str], int], Any]] = [
        lambda words, place: words.pop(place),
        lambda words, place: words.insert(place, words[place]),
        lambda words, place: words.insert(place, draw.choice(STRINGS)),
        lambda words, place: words.insert(
            place, draw.choice(("--", "--help", "-h", "--version", "--no-such", "-x", "-"))
        ),
        lambda words, place: words.__setitem__(place, words[place][:-1]),
        lambda words, place: words.__setitem__(place, words[place].upper()),
        lambda words, place: words.__setitem__(place, words[place].replace("-", "_")),
    ]
    arguments = list(arguments)
    if arguments:
        draw.choice(changes)(arguments, draw.randrange(len(arguments)))
    return arguments
