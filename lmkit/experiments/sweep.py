"""A sweep: every combination of some options of a training, with several seeds, on the engine of the experiments."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from lmkit.config import Config
from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.groups import PAIRED_OPTIONS
from lmkit.experiments.contract.arm import Arm, file_name, grid
from lmkit.experiments.contract.experiment import Experiment
from lmkit.experiments.contract.outcomes import Outcomes
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.table import Table
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.contract.verdict import Verdict
from lmkit.experiments.tools.language_model import train_language_model
from lmkit.experiments.tools.numbers import p_shown, shown
from lmkit.files import read_regular
from lmkit.plots.charts import Bar, Bars, Chart
from lmkit.session.setup import absolute_corpus

__all__ = ["Grid", "Sweep", "read_grid"]

LARGEST_FILE = 1 << 20  # bytes
TABLES, NUMBERS = ("options", "grid", "choose"), ("seeds", "tuning_seeds")
STDIN = "every run reads the text, and standard input is read once: give a file"
OF_THE_SWEEP = {"seed": "give `seeds = N` at the top", "max_seconds": "bound the runs by max_steps or epochs"}
MOST_BARS = 30


@dataclasses.dataclass(frozen=True)
class Grid:
    """What a sweep is made of. name: of its file. options: of every run. grid: lists, whose product the arms are.
    choose: lists, of whose product each arm takes one by its validation, with tuning seeds.
    """

    name: str
    options: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    choose: Mapping[str, Sequence[Any]]
    seeds: int = 3
    tuning_seeds: int = 1

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The product of the lists of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


class Sweep(Experiment):
    """Every combination of a grid, best first."""

    claims = ()
    question = "Which of these options are best, and how sure is that?"

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.name = f"sweep {grid.name}"
        self.title = f"Sweep: {grid.name}"
        self.minutes = 0.0
        self.seeds = grid.seeds
        how = "paired by seeds" if self.is_paired else "by Welch's test"
        self.rule = f"Arms by validation, the best first; differences from the best {how}, p-values by Holm."

    @property
    def command(self) -> str:
        return f"sweep {self.grid.name}.toml"

    @property
    def is_paired(self) -> bool:
        """Whether a seed gives all arms the same first weights and the same order of the text."""
        return {*self.grid.grid, *self.grid.choose} <= PAIRED_OPTIONS

    def scale(self, seeds: int | None = None) -> Scale:
        """The scale of the grid, or with another number of seeds."""
        return Scale(seeds or self.grid.seeds, tuning_seeds=self.grid.tuning_seeds)

    def arms(self, scale: Scale) -> Sequence[Arm]:
        choices = grid(**self.grid.choose) if self.grid.choose else ()
        return [Arm(_name(one), {**self.grid.options, **one}, choices) for one in self.grid.combinations]

    def measure(self, trial: Trial) -> Mapping[str, Any]:
        return train_language_model(trial, trial.options).numbers

    def judge(self, outcomes: Outcomes) -> Sequence[Verdict]:
        return []

    def tables(self, outcomes: Outcomes) -> Sequence[Table]:
        ranked, combinations = self._ranked(outcomes), {_name(one): one for one in self.grid.combinations}
        found = outcomes.compare([(name, ranked[0]) for name in ranked[1:]], "valid", paired=self.is_paired)
        rest = [("", ""), *((shown(one.interval, "+.4f"), p_shown(one.p_holm)) for one in found)]
        rows = [
            [
                *map(str, combinations[name].values()),
                *(str(value) for value in outcomes.choice(name).values()),
                shown(outcomes.mean(name, "valid")),
                *difference,
                shown(outcomes.mean(name, "test")),
                shown(outcomes.mean(name, "test_bits_per_byte")),
                shown(outcomes.values(name, "parameters")[0], ",.0f"),
                shown(outcomes.median(name, "train_seconds"), ".1f"),
            ]
            for name, difference in zip(ranked, rest, strict=True)
        ]
        columns = [*self.grid.grid, *self.grid.choose, "valid, nats per token", "minus the best", "p, Holm"]
        columns += ["test", "test, bits per byte", "parameters", "seconds"]
        return [Table("Arms by validation", columns, rows, f"[..]: 95 % confidence over seeds. {self.rule}")]

    def charts(self, outcomes: Outcomes) -> Mapping[str, Chart]:
        means = [(name, outcomes.mean(name, "valid")) for name in self._ranked(outcomes)[:MOST_BARS]]
        bars = [Bar(name, mean.value, mean.low, mean.high) for name, mean in means]
        return {"valid": Bars(self.title, "validation loss, nats per token", bars)}

    def _ranked(self, outcomes: Outcomes) -> list[str]:
        """The arms by validation, those whose loss was not finite last."""

        def key(name: str) -> tuple[bool, float]:
            value = outcomes.mean(name, "valid").value
            return value != value, value

        return sorted((arm.name for arm in outcomes.arms), key=key)


def read_grid(path: Path) -> Grid:
    """The grid of a TOML file with the tables [options], [grid] and, if something is to be chosen, [choose]; ``seeds =
    N`` at its top. Every combination is checked. Raises ConfigError.
    """
    try:
        values = tomllib.loads(read_regular(path, LARGEST_FILE).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    try:
        return _checked(path.stem, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _checked(name: str, values: Mapping[str, Any]) -> Grid:
    if unknown := sorted(set(values) - {*TABLES, *NUMBERS}):
        raise ConfigError(
            f"There is no {unknown[0][:80]!r} in a grid: it has [options], [grid], [choose] and seeds = N."
        )
    tables = {table: values.get(table, {}) for table in TABLES}
    for table, content in tables.items():
        if not isinstance(content, Mapping):
            raise ConfigError(f"[{table}] must be a table of options.")
    for table in ("grid", "choose"):
        for option, entries in tables[table].items():
            if not isinstance(entries, list) or not entries:
                raise ConfigError(f"{option} of [{table}] must be a list of values, as in {option} = [..].")
    if not tables["grid"]:
        raise ConfigError("[grid] is empty: give it options with lists of values, as in hidden_size = [128, 256].")
    numbers = {number: _count(number, values[number]) for number in NUMBERS if number in values}
    lists = {table: {option: _distinct(one) for option, one in tables[table].items()} for table in ("grid", "choose")}
    made = Grid(name, _options(tables["options"]), lists["grid"], lists["choose"], **numbers)
    for options in _all_options(made):
        Config().override(options)
    for table, ones in (("grid", made.combinations), ("choose", grid(**made.choose))):
        _check_names(table, [_name(one) for one in ones])
    return made


def _check_names(table: str, names: Sequence[str]) -> None:
    """Raise ConfigError where two combinations would have one file: small letters and a few signs make its name."""
    seen: dict[str, str] = {}
    for name in names:
        if (file := file_name(name)) in seen:
            raise ConfigError(f"{seen[file]} and {name} of [{table}] would have the same file: rename one of the two.")
        seen[file] = name


def _count(name: str, value: Any) -> int:
    least = 2 if name == "seeds" else 1
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 1000:
        why = "" if least == 1 else ": one run of a combination has no interval"
        raise ConfigError(f"{name} must be a whole number of at least {least}{why}.")
    return value


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if value not in values[:number]]


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    corpus = options.get("corpus")
    return {**options, **({"corpus": absolute_corpus(corpus)} if isinstance(corpus, str) else {})}


def _all_options(made: Grid) -> Iterator[dict[str, Any]]:
    """The options of every run. Raises ConfigError for an option twice, or one that is the sweep's own."""
    names = [*made.options, *made.grid, *made.choose]
    for name in names:
        if name in OF_THE_SWEEP:
            raise ConfigError(f"{name} is no option of a sweep: {OF_THE_SWEEP[name]}.")
        if names.count(name) > 1:
            raise ConfigError(f"{name} is given twice: it belongs in one of [options], [grid] and [choose].")
    for one in made.combinations:
        for choice in grid(**made.choose):
            options = {**made.options, **one, **choice}
            if options.get("corpus") == "-":
                raise ConfigError(f"corpus is -: {STDIN}.")
            yield options


def _name(combination: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in combination.items())
