"""The set-up of a training in all its processes: each makes its own, and none goes on unless all can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmkit.config import PLACEMENT, Config, flatten
from lmkit.distributed.world import World
from lmkit.errors import ConfigError
from lmkit.session.kind import Kind
from lmkit.session.placement import Placement
from lmkit.session.records.fingerprint import fingerprint
from lmkit.session.setup import TrainingSetup

__all__ = ["prepare_in_all"]

PATHS = ("corpus", "tokenizer", "valid")  # may differ from machine to machine; what is there must not


def prepare_in_all(
    kind: Kind, config: Config, place: Callable[[], Placement], world: World, **how: Any
) -> TrainingSetup:
    """``kind.prepare`` with a placement that is chosen here, in all processes of a world. Raises LmkitError in each of
    them where one cannot, or is to train something else than the first.
    """
    with world.together():
        _check_world(config, world)
        setup = kind.prepare(config, place(), **how)
    if not world.alone:
        world.check_same(_identity(setup))
    return setup


def _check_world(config: Config, world: World) -> None:
    rows = config.training.batch_size
    if world.size > rows:
        raise ConfigError(
            f"{world.size} processes need a row each, and --batch-size {rows} gives only {rows}: raise it, or start "
            f"{rows} processes."
        )
    world.check_readable_by_all(config.data.corpus)


def _identity(setup: TrainingSetup) -> dict[str, Any]:
    """What must be the same in all processes, by the words for it."""
    config, splits = setup.config, setup.corpus.splits
    options = flatten(config.to_dict(), type(config))
    return {
        "configuration": {name: value for name, value in options.items() if name not in (*PLACEMENT, *PATHS)},
        "text": {name: (split.sha256, len(split)) for name, split in splits.items()},
        "tokenizer": setup.corpus.tokenizer.sha256,
        "kind of processor, device, precision, threads or version of a library": fingerprint(setup.placement),
    }
