"""Fields of the configuration: their help, flags and bounds, and the check that a value keeps them."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any

from lmkit.errors import ConfigError

__all__ = ["NO_FLAG", "Section", "alternatives", "arguments_of", "check_field", "fields_of", "flag_of", "option"]

NO_FLAG = ("",)  # of what follows from the data
LONGEST_TEXT = 4096
LARGEST_NUMBER = 2**63
SHORT = reprlib.Repr()  # few entries of a list or table, few levels
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80


def option(
    default: Any,
    help: str,
    *,
    flags: tuple[str, ...] = (),
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    cells: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its help text, its flags (the first is the primary one) and its bounds. cells: those that
    take the option, where it is not for all. words: that stand for themselves where a number is taken, too.
    """
    metadata = {
        "help": help,
        "flags": flags,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
        "cells": cells,
        "words": words,
    }
    return field(default=default, metadata=metadata)


class Section:
    """Base of the sections: values are checked when a section is made, so a config that exists is a valid one."""

    def __post_init__(self) -> None:
        hints = _hints(typing.cast(Any, type(self)))
        for item in dataclasses.fields(typing.cast(Any, self)):
            value = check_field(item, hints[item.name], getattr(self, item.name))
            object.__setattr__(self, item.name, value)
        self.check()

    def check(self) -> None:
        """Raise ConfigError where two fields contradict each other."""


@functools.cache
def _hints(section: type) -> dict[str, Any]:
    """The types of a section's fields. To resolve them takes long, and a section is made many times."""
    return typing.get_type_hints(section)


def fields_of(section: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Each field of a section with its resolved type."""
    hints = _hints(section)
    for item in dataclasses.fields(section):
        yield item, hints[item.name]


def flag_of(item: dataclasses.Field[Any]) -> str:
    """The primary flag of a field on the command line."""
    flags = item.metadata["flags"]
    return flags[0] if flags else "--" + item.name.replace("_", "-")


def arguments_of(item: dataclasses.Field[Any], value: Any) -> list[str]:
    """A field's value as the command line takes it: a flag, or a flag and what follows it."""
    flag = flag_of(item)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, (list, tuple)):
        return [flag, ",".join(map(str, value))]
    return [flag, str(value)]


def alternatives(names: Sequence[str]) -> str:
    """Names in a sentence: a, a or b, a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def check_field(item: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """Return the value in the field's own type, or raise ConfigError with the flag's name and what it takes."""
    flag = flag_of(item)
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None:
        if type(None) in kinds:
            return None
        raise ConfigError(f"{flag} must have a value.")
    kind = next(kind for kind in kinds if kind is not type(None))
    if item.metadata["words"]:
        return _check_number_or_word(item, flag, value)
    if typing.get_origin(kind) is tuple:
        entry_kind = typing.get_args(kind)[0]
        if entry_kind is str:
            return _check_names(flag, value)
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{flag} must be a list of {'whole ' if entry_kind is int else ''}numbers.")
        return tuple(_check_number(item, flag, entry_kind, entry) for entry in value)
    if kind in (int, float):
        return _check_number(item, flag, kind, value)
    if not isinstance(value, kind):
        raise ConfigError(f"{flag} must be {'true or false' if kind is bool else 'text'}, not {_shown(value)}.")
    choices = item.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(f"{flag} must be one of {', '.join(choices)}, not {_shown(value)}.")
    if isinstance(value, str):
        _check_text(flag, value)
    return value


def _check_number_or_word(item: dataclasses.Field[Any], flag: str, value: Any) -> Any:
    """A whole number, or one of the words of the field; a number may be written out."""
    words = item.metadata["words"]
    if value in words:
        return value
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,18}", value):
        raise ConfigError(f"{flag} must be a whole number or {alternatives(words)}, not {_shown(value)}.")
    return _check_number(item, flag, int, int(value) if isinstance(value, str) else value)


def _check_names(flag: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{flag} must be a list of names.")
    for one in value:
        _check_text(flag, one)
    return tuple(value)


def _check_text(flag: str, value: str) -> None:
    """What came from a file may be no text, or longer than any name."""
    if len(value) > LONGEST_TEXT:
        raise ConfigError(f"{flag} must have at most {LONGEST_TEXT:,} characters, not {len(value):,}.")
    try:
        value.encode("utf-8", "surrogateescape")  # so come bytes that are no UTF-8 from the command line
    except UnicodeEncodeError:
        raise ConfigError(f"{flag} must be text, not {_shown(value)}.") from None


def _check_number(item: dataclasses.Field[Any], flag: str, kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{flag} must be a number, not {_shown(value)}.")
    if abs(value) > LARGEST_NUMBER and isinstance(value, int):
        raise ConfigError(f"{flag} must be a number that fits 64 bits, not one of {value.bit_length():,}.")
    if not math.isfinite(value):
        raise ConfigError(f"{flag} must be a finite number, not {value}.")
    if kind is int and value != int(value):
        raise ConfigError(f"{flag} must be a whole number, not {value}.")
    bounds = item.metadata
    tests: tuple[tuple[str, str, Callable[[float], bool]], ...] = (
        ("minimum", "at least", lambda bound: value >= bound),
        ("above", "above", lambda bound: value > bound),
        ("maximum", "at most", lambda bound: value <= bound),
        ("below", "below", lambda bound: value < bound),
    )
    for name, words, holds in tests:
        if bounds[name] is not None and not holds(bounds[name]):
            raise ConfigError(f"{flag} must be {words} {_bound(bounds[name])}, not {_written(value)}.")
    return kind(value)


def _shown(value: Any) -> str:
    """A wrong value in a message: short, however long or deep it is."""
    try:
        return SHORT.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "such a large number"


def _bound(value: float) -> str:
    """A bound in a message: a large power of two as such."""
    exact = int(value)
    return f"2^{exact.bit_length() - 1}" if exact >= 2**31 and exact.bit_count() == 1 else _written(value)


def _written(value: float) -> str:
    """A number as a person writes it: whole ones in full."""
    return str(int(value)) if value == int(value) else f"{value:g}"
