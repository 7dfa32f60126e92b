"""Groups of runs that differ by their seed: what another text would change, and what another training would.

The two sources of chance are named apart (Bouthillier et al. 2021, arXiv 2103.03098). Over the text: other stretches
like it, for these very networks. Over seeds: other trainings, on this very text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmkit.config import REGULARISERS, Config, TrainingConfig, flatten
from lmkit.errors import ConfigError
from lmkit.evaluation.comparison.alignment import ScoredRun, Units, same_tokens
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.samples import Contrast, paired, welch

__all__ = [
    "PAIRED_OPTIONS",
    "Pairing",
    "SeedDifference",
    "check_group",
    "check_seeds",
    "contrast_of_runs",
    "group_run",
    "group_units",
    "over_seeds",
    "pair_by_seed",
    "pair_runs",
]

SEEDS = ("seed", "init_seed", "data_seed")
PLACES = ("device", "precision", "threads", "checkpoint_every", "checkpoint_seconds", "keep_checkpoints")
# Options of training that change the first weights or the order of the text: runs that differ in them are no pairs.
OF_THE_ORDER = {
    *("sampler", "state", "drop_state", "window", "window_jitter", "batch_size", "burn_in"),
    *("truncation", "k1", "k2", "artbp_cut", "artbp_chunk"),
}
PAIRED_OPTIONS = ({item.name for item in dataclasses.fields(TrainingConfig)} - OF_THE_ORDER) | set(REGULARISERS)


@dataclass(frozen=True)
class SeedDifference:
    """The difference of two groups of runs over their seeds (group - baseline). losses, baseline_losses: of each run,
    in the comparison's unit. paired: whether runs with the same seeds were compared, each with its own, else Welch's
    test; pairs: their names, and unpaired: why there are none. Without ends and with a p-value of nan where a group has
    one run.
    """

    losses: list[float]
    baseline_losses: list[float]
    difference: Interval
    p_value: float
    paired: bool
    pairs: list[tuple[str, str]]
    unpaired: str


class Pairing(NamedTuple):
    """pairs: a run's number in its group, and that of its partner in the baseline; none where they are no pairs, and
    ``unpaired`` says why.
    """

    pairs: list[tuple[int, int]]
    unpaired: str


def check_group(runs: Sequence[ScoredRun], configs: Sequence[Config]) -> list[str]:
    """Notes on runs that should differ by their seed alone. Raises ConfigError where they read the text as other
    tokens, and where two are the same training.
    """
    if not same_tokens(runs):
        raise ConfigError(
            f"{runs[0].name} and the runs beside it have different tokenizers: runs of one group differ by their seed."
        )
    return check_seeds([run.name for run in runs], configs)


def check_seeds(names: Sequence[str], configs: Sequence[Config]) -> list[str]:
    """Notes on runs of a group that should differ by their seed alone. Raises ConfigError where two have the same."""
    seen: dict[tuple[int, int], str] = {}
    for name, config in zip(names, configs, strict=True):
        seeds = _seeds(config)
        if seeds in seen:
            raise ConfigError(f"{seen[seeds]} and {name} have the same seed: give each seed of a group once.")
        seen[seeds] = name
    options = sorted(
        {option for config in configs[1:] for option in _differing(configs[0], config)} - {*SEEDS, *PLACES}
    )
    return [f"The runs beside {names[0]} differ from it in more than their seed: {', '.join(options)}."] * bool(options)


def pair_runs(configs: Sequence[Config], baseline: Sequence[Config]) -> Pairing:
    """Which runs of two groups share their first weights and the order of their text: each with the one of the baseline
    that has its seeds, wherever it stands, if all have one and the pairs differ only in what changes neither.
    """
    found = pair_by_seed(configs, baseline)
    others = {name for one, other in found.pairs for name in _differing(configs[one], baseline[other])}
    if others := others - {*SEEDS, *PLACES} - PAIRED_OPTIONS:
        return Pairing([], f"because a seed gives other weights, or another order, with another {sorted(others)[0]}")
    return found


def pair_by_seed(configs: Sequence[Config], baseline: Sequence[Config]) -> Pairing:
    """Which runs of two groups have the same seeds: each with the one of the baseline, wherever it stands, if all have
    one.
    """
    places = {_seeds(config): number for number, config in enumerate(baseline)}
    if len(places) < len(baseline) or sorted(places) != sorted(map(_seeds, configs)):
        return Pairing([], "because the groups have different seeds")
    return Pairing([(number, places[_seeds(config)]) for number, config in enumerate(configs)], "")


def contrast_of_runs(values: Sequence[float], baseline: Sequence[float], pairing: Pairing) -> Contrast:
    """The difference of the means of two groups of runs: a paired test where they are pairs, else Welch's."""
    if pairing.pairs and len(baseline) > 1:
        return paired([values[one] for one, _ in pairing.pairs], [baseline[other] for _, other in pairing.pairs])
    return welch(values, baseline)


def _seeds(config: Config) -> tuple[int, int]:
    return config.runtime.weights_seed, config.runtime.order_seed


def group_run(runs: Sequence[ScoredRun]) -> ScoredRun:
    """A group as one run: the mean of the losses of each token, and all seams."""
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    losses = np.mean([run.losses for run in runs], axis=0)
    repaired = sum(run.seams_repaired for run in runs)
    return dataclasses.replace(runs[0], name=runs[0].name + more, losses=losses, seams_repaired=repaired)


def group_units(units: Units, size: int) -> Units:
    """The units of two groups, the baseline of ``size`` runs first: mean losses of each (2, N)."""
    means = np.stack([units.losses[:size].mean(axis=0), units.losses[size:].mean(axis=0)])
    return dataclasses.replace(units, losses=means)


def over_seeds(units: Units, names: Sequence[str], size: int, pairing: Pairing, *, confidence: float) -> SeedDifference:
    """The difference of the groups' mean losses over runs: the first ``size`` of the units are the baseline's."""
    scale = 1.0 if units.kind == "token" else 1 / math.log(2.0)
    found = (units.losses.sum(axis=1) * scale / units.sizes.sum()).tolist()
    baseline, losses = found[:size], found[size:]
    contrast = contrast_of_runs(losses, baseline, pairing)
    if min(len(losses), size) < 2:  # one run has a seed, too: it is no known value
        contrast = dataclasses.replace(contrast, error=math.nan)
    pairs = [(names[size + one], names[other]) for one, other in pairing.pairs] if contrast.paired else []
    interval = contrast.interval(confidence)
    return SeedDifference(losses, baseline, interval, contrast.p_value, contrast.paired, pairs, pairing.unpaired)


def _differing(one: Config, other: Config) -> set[str]:
    values, others = (flatten(config.to_dict(), type(config)) for config in (one, other))
    return {name for name, value in values.items() if value != others[name]}
