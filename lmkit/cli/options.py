"""Click options made from the configuration's fields, and configurations made from click's answers."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import click

from lmkit.config import CheckpointConfig, Config, DataConfig, ModelConfig, RuntimeConfig, TrainingConfig, flatten
from lmkit.errors import ConfigError
from lmkit.fields import fields_of, flag_of
from lmkit.files import read_regular

__all__ = [
    "LARGEST",
    "SectionedCommand",
    "checkpoint_option",
    "config_options",
    "make_config",
    "preset_names",
    "runtime_options",
    "use_runtime",
]

LARGEST = 2**31 - 1  # of a number of tokens, rows or steps
LARGEST_FILE = 1 << 20  # bytes of a --config file
F = TypeVar("F", bound=Callable[..., Any])
TITLES: dict[type, str] = {
    DataConfig: "Text",
    ModelConfig: "Model",
    TrainingConfig: "Training",
    CheckpointConfig: "Checkpoints",
    RuntimeConfig: "Machine",
}


class ConfigOption(click.Option):
    """An option of a section of the configuration. Help shows its first name; others, of older toolkits, are taken."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        names = self.opts
        self.opts = names[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


class SectionedCommand(click.Command):
    """A command whose help lists the options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "section", "Run"), []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


class NumberList(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return value if isinstance(value, tuple) else tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 2000,8000.", param, ctx)


def config_options(function: F) -> F:
    """Add an option for every field of every section, and ``--cuda`` as a short way to ``--device cuda``."""
    for section in reversed(TITLES):
        for item, hint in reversed(list(fields_of(section))):
            function = _option(item, hint, TITLES[section])(function)
    return _cuda(function)


def runtime_options(function: F) -> F:
    """Add --device and --threads, for commands that use a model that is there."""
    for item, hint in reversed(list(fields_of(RuntimeConfig))):
        if item.name in ("device", "threads"):
            function = _option(item, hint, TITLES[RuntimeConfig])(function)
    return _cuda(function)


def checkpoint_option(function: F) -> F:
    """Add --checkpoint, for commands that use one run's model."""
    return click.option(
        "--checkpoint", default="best", show_default=True, help="Which model of the run: best, last, or a step."
    )(function)


def make_config(preset: str | None, file: Path | None, given: Mapping[str, Any]) -> Config:
    """Defaults, then the preset, then the file, then the options that were given."""
    config = Config()
    if preset is not None:
        config = config.override(_read_preset(preset))
    if file is not None:
        config = config.override(_read_toml(file))
    return config.override({name: value for name, value in given.items() if value is not None})


def use_runtime(device: str | None, threads: int | None, *, default_threads: int | None = None) -> str:
    """Check the options of ``runtime_options``, set the threads and return the device's name. Raises ConfigError."""
    import torch

    from lmkit.hardware import choose_threads

    chosen = default_threads if threads is None else threads
    runtime = RuntimeConfig(device=device or "auto", threads=chosen)
    torch.set_num_threads(choose_threads(runtime.threads))
    return runtime.device


def _cuda(function: F) -> F:
    return click.option("--cuda", "device", flag_value="cuda", hidden=True, help="The same as --device cuda.")(function)


def preset_names() -> list[str]:
    """The presets that come with lmkit."""
    folder = resources.files("lmkit") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise ConfigError(f"There is no preset {name}: known are {', '.join(preset_names())}.")
    return flatten(tomllib.loads((resources.files("lmkit") / "presets" / f"{name}.toml").read_text(encoding="utf-8")))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return flatten(tomllib.loads(read_regular(path, LARGEST_FILE).decode("utf-8")))
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no TOML, or a number of thousands of digits
        raise ConfigError(f"Cannot read --config {path}: {getattr(error, 'strerror', None) or error}.") from error
    except RecursionError:
        raise ConfigError(f"Cannot read --config {path}: its tables or lists are nested too deeply.") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _option(item: dataclasses.Field[Any], hint: Any, section: str) -> Callable[[F], F]:
    names = item.metadata["flags"] or (flag_of(item),)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(kind for kind in kinds if kind is not type(None))
    help = item.metadata["help"]
    if item.default is not None and kind is not bool:
        help += f"  [default: {item.default:g}]" if kind is float else f"  [default: {item.default}]"
    if kind is bool:
        negative = "--no-" + names[0].removeprefix("--")
        names = (f"{names[0]}/{negative}", *names[1:])
        return click.option(*names, item.name, cls=ConfigOption, section=section, default=None, help=help)
    choices = item.metadata["choices"]
    plain: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, str: click.STRING}
    kind_of_value = click.Choice(choices, case_sensitive=False) if choices else plain.get(kind) or NumberList()
    return click.option(
        *names, item.name, cls=ConfigOption, section=section, type=kind_of_value, default=None, help=help
    )
