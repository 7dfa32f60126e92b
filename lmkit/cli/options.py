"""Click options made from the configuration's fields, and configurations made from click's answers."""

from __future__ import annotations

import dataclasses
import functools
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from lmkit.cli.completers import complete_corpora, complete_files, complete_runs, complete_tokenizers
from lmkit.cli.processes import is_silent
from lmkit.config import (
    NO_FLAG,
    CheckpointConfig,
    ClassifierConfig,
    Config,
    DataConfig,
    LabelConfig,
    ModelConfig,
    RuntimeConfig,
    TrainingConfig,
    flatten,
)
from lmkit.distributed.launch import Launch
from lmkit.errors import ConfigError
from lmkit.fields import fields_of, flag_of
from lmkit.files import read_regular
from lmkit.presets.preset import read_preset

if TYPE_CHECKING:
    from lmkit.console.terminal.progress import ProgressLine
    from lmkit.distributed.world import World

    IntType = click.ParamType[int]
    NumbersType = click.ParamType[tuple[float, ...]]
    NamesType = click.ParamType[tuple[str, ...]]
else:  # until click 8.3 a type took no argument
    IntType = NumbersType = NamesType = click.ParamType

__all__ = [
    "Count",
    "SectionedCommand",
    "checkpoint_option",
    "chosen",
    "chosen_options",
    "classifier_options",
    "config_options",
    "decoder_option",
    "make_config",
    "progress_line",
    "run_options",
    "runtime_options",
    "say_what_is_awaited",
    "section_options",
    "use_own_device",
    "use_runtime",
]

LARGEST_FILE = 1 << 20  # bytes of a --config file
F = TypeVar("F", bound=Callable[..., Any])
TITLES: dict[type, str] = {
    LabelConfig: "Texts and labels",
    DataConfig: "Text",
    ModelConfig: "Model",
    TrainingConfig: "Training",
    CheckpointConfig: "Checkpoints",
    RuntimeConfig: "Machine",
}
COMPLETERS = {
    "corpus": complete_corpora,
    "tokenizer": complete_tokenizers,
    "arpa": complete_files,
    "init_from": complete_runs,
}
OPTIONS, OWN = "Options", "Run"  # the only section of a help page; that of a command's own options
OWN_DEFAULT = object()  # of a field
ALL = "lmkit.help_all"  # in a click context: --help-all was asked for


class ConfigOption(click.Option):
    """An option of a section of the configuration."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists the options by section: ``--help`` those of ``short`` (parameter names), if there are
    any, ``--help-all`` all of them.
    """

    def __init__(self, *args: Any, short: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.short = short
        how: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False, "callback": _show_all}
        self.params.append(click.Option(["--help-all"], hidden=True, **how))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        whole = not self.short or bool(ctx.meta.get(ALL))
        visible = [one for one in self.get_params(ctx) if isinstance(one, click.Option) and not one.hidden]
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in visible:
            if whole or option.name in self.short:
                section = getattr(option, "section", OWN) if whole else OPTIONS
                sections.setdefault(section, []).append(_help_record(option, ctx))
        if not whole:
            sections[OPTIONS].append(("--help-all", f"Show all {len(visible)} options."))
        for section, records in sections.items():
            with formatter.section(section if len(sections) > 1 else OPTIONS):
                formatter.write_dl(records)


def _help_record(option: click.Option, ctx: click.Context) -> tuple[str, str]:
    """An option as help shows it: with its letter and its first name. Others, of older toolkits, are taken."""
    names = option.opts
    long = [name for name in names if name.startswith("--")]
    option.opts = [name for name in names if name == long[0] or name not in long]
    try:
        record = option.get_help_record(ctx)
    finally:
        option.opts = names
    assert record is not None, "a hidden option is not shown"
    return record


def _show_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


class Count(IntType):
    """A whole number of things, at least ``minimum`` of them; help shows no bound that is never met."""

    name = "integer"

    def __init__(self, minimum: int, bits: int = 31) -> None:
        self.minimum, self.bits = minimum, bits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        if number < self.minimum:
            self.fail(f"it must be at least {self.minimum}, not {number}.", param, ctx)
        if number >= 2**self.bits:
            self.fail(f"it must be below 2^{self.bits}, not {value}.", param, ctx)
        return number


class NumberList(NumbersType):
    """Numbers of one kind with commas between them."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return value if isinstance(value, tuple) else tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            kind, example = ("whole numbers", "2000,8000") if self.kind is int else ("numbers", "0.9,0.99")
            self.fail(f"{value!r} is not a list of {kind} such as {example}.", param, ctx)


class NameList(NamesType):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(value.split(","))


def config_options(function: F) -> F:
    """Add an option for every field of every section, ``--cuda`` and ``--gpu`` as short ways to ``--device cuda``, and
    ``--max-minutes``.
    """
    for section in [one for one in reversed(TITLES) if one is not LabelConfig]:
        for item, hint in reversed(list(fields_of(section))):
            function = _option(item, hint, TITLES[section])(function)
    return _cuda(_minutes(function))


def classifier_options(function: F) -> F:
    """Add an option for every field that a classifier takes, but the training file and what its texts tell; --cuda and
    --max-minutes as ``config_options`` does.
    """
    config = ClassifierConfig()
    sections = {type(getattr(config, one.name)): one.name for one in dataclasses.fields(config)}
    for kind in reversed(TITLES):
        section = getattr(config, sections[kind])
        for item, hint in reversed(list(fields_of(kind))):
            if item.name != "corpus" and item.metadata["flags"] != NO_FLAG and config.takes(sections[kind], item.name):
                function = _option(item, hint, TITLES[kind], getattr(section, item.name))(function)
    return _cuda(_minutes(function))


def runtime_options(function: F) -> F:
    """Add --device and --threads, for commands that use a model that is there."""
    for item, hint in reversed(list(fields_of(RuntimeConfig))):
        if item.name in ("device", "threads"):
            function = _option(item, hint, TITLES[RuntimeConfig])(function)
    return _cuda(function)


def section_options(section: type, title: str, names: Iterable[str]) -> Callable[[F], F]:
    """Add options for some fields of a section; ``chosen`` makes a section from the answers."""
    wanted = set(names)

    def decorate(function: F) -> F:
        for item, hint in reversed(list(fields_of(section))):
            if item.name in wanted:
                function = _option(item, hint, title)(function)
        return function

    return decorate


def chosen(section: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a section that were given on the command line."""
    names = {item.name for item, _ in fields_of(section)}
    return {name: value for name, value in given.items() if name in names and value is not None}


def run_options(named_after: str) -> Callable[[F], F]:
    """The options of a command that trains, beside its configuration: where that comes from, where the run is, and how
    it is resumed. named_after: what a run without ``--out`` has its name from.
    """
    path = click.Path(path_type=Path)
    options = (
        click.option("--config", "config_file", type=path, help="Read options from a TOML file."),
        click.option("--out", type=path, help=f"The run folder (default: the first free runs/<{named_after}>-<n>)."),
        click.option(
            "--resume",
            type=path,
            shell_complete=complete_runs,
            help="Continue this run; the result is the uninterrupted run's, bit for bit.",
        ),
        click.option(
            "--allow-inexact",
            is_flag=True,
            help="Resume even where machine, versions, threads or precision differ.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output."),
    )
    return lambda function: functools.reduce(lambda made, option: option(made), reversed(options), function)


def checkpoint_option(function: F) -> F:
    """Add --checkpoint, for commands that use one run's model."""
    return click.option(
        "--checkpoint", default="best", show_default=True, help="Which model of the run: best, last, or a step."
    )(function)


def decoder_option(function: F) -> F:
    """Add --decoder, for commands that read one run's model token by token or can do so."""
    return click.option(
        "--decoder",
        type=click.Choice(["float32", "int8"]),
        default="float32",
        show_default=True,
        help="Arithmetic of the matrices: int8 rounds them to eight bits and samples faster (LSTM, GRU, RNN).",
    )(function)


def make_config(preset: str | None, file: Path | None, given: Mapping[str, Any]) -> Config:
    """Defaults, then the preset, then the file, then the options that were given."""
    return Config().override(chosen_options(preset, file, given))


def chosen_options(
    preset: str | None, file: Path | None, given: Mapping[str, Any], kind: type[Config] = Config
) -> dict[str, Any]:
    """What was chosen: by the preset, then by the file, then by options on the command line."""
    options = {} if preset is None else dict(read_preset(preset).options)
    options |= {} if file is None else _read_toml(file, kind)
    return options | {name: value for name, value in given.items() if value is not None}


def progress_line() -> ProgressLine:
    """A progress line that lasts as long as the command: call its ``end`` before the output is printed. Of several
    processes the first one shows it.
    """
    from lmkit.console.terminal.output import open_console
    from lmkit.console.terminal.progress import ProgressLine

    console = open_console(stderr=True)
    console.quiet = is_silent()
    line = click.get_current_context().with_resource(ProgressLine(console))
    line("loading")
    return line


def say_what_is_awaited(line: ProgressLine) -> None:
    """Say that the text is to be typed, where standard input is a terminal: to wait without a word looks like hanging.
    No progress is shown between what is typed.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        line.end()
        click.echo("Note: no file was named: type the text, then end it with Ctrl-D.", err=True)


def use_runtime(device: str | None, threads: int | None, *, default_threads: int | None = None) -> str:
    """Check the options of ``runtime_options``, set the threads of this process and return the device's name. Raises
    ConfigError.
    """
    import torch

    from lmkit.hardware import choose_threads

    chosen = default_threads if threads is None else threads
    runtime = RuntimeConfig(device=device or "auto", threads=chosen)
    torch.set_num_threads(choose_threads(runtime.threads, Launch.read().local_size))
    return runtime.device


def use_own_device(device: str | None, threads: int | None, world: World) -> str:
    """The same, and where there are several processes each takes a GPU of its own."""
    from lmkit.distributed.devices import take_own_device
    from lmkit.hardware import choose_device

    name = use_runtime(device, threads)
    take_own_device(choose_device(name), world.launch)
    return name


def _cuda(function: F) -> F:
    return click.option("--cuda", "--gpu", "device", flag_value="cuda", hidden=True, help="The same as --device cuda.")(
        function
    )


def _minutes(function: F) -> F:
    @click.option("--max-minutes", type=float, hidden=True, help="The same as --max-seconds, in minutes.")
    @functools.wraps(function)
    def in_seconds(*args: Any, max_minutes: float | None, **given: Any) -> Any:
        if max_minutes is not None:
            given["max_seconds"] = 60 * max_minutes
        return function(*args, **given)

    return cast(F, in_seconds)


def _read_toml(path: Path, kind: type[Config]) -> dict[str, Any]:
    try:
        return flatten(tomllib.loads(read_regular(path, LARGEST_FILE).decode("utf-8")), kind)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no TOML, or a number of thousands of digits
        raise ConfigError(f"Cannot read --config {path}: {getattr(error, 'strerror', None) or error}.") from error
    except RecursionError:
        raise ConfigError(f"Cannot read --config {path}: its tables or lists are nested too deeply.") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _option(item: dataclasses.Field[Any], hint: Any, section: str, default: Any = OWN_DEFAULT) -> Callable[[F], F]:
    default = item.default if default is OWN_DEFAULT else default
    names = item.metadata["flags"] or (flag_of(item),)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(kind for kind in kinds if kind is not type(None))
    help = item.metadata["help"]
    if default is not None and kind is not bool:
        help += f"  [default: {default:g}]" if kind is float else f"  [default: {default}]"
    if kind is bool:
        negative = "--no-" + names[0].removeprefix("--")
        names = (f"{names[0]}/{negative}", *names[1:])
        return click.option(*names, item.name, cls=ConfigOption, section=section, default=None, help=help)
    kind_of_value = _type(item, kind)
    completer: dict[str, Any] = {"shell_complete": COMPLETERS[item.name]} if item.name in COMPLETERS else {}
    how: dict[str, Any] = {"type": kind_of_value, "default": None, "help": help, **completer}
    return click.option(*names, item.name, cls=ConfigOption, section=section, **how)


def _type(item: dataclasses.Field[Any], kind: Any) -> click.ParamType[Any]:
    """How click reads a value of a field."""
    choices, entries = item.metadata["choices"], typing.get_args(kind)
    if choices:
        return click.Choice(choices, case_sensitive=False)
    if item.metadata["words"]:
        return click.STRING
    if entries:
        return NameList() if entries[0] is str else NumberList(entries[0])
    plain: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, str: click.STRING}
    return plain[kind]
