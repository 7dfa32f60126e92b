"""Processes with another number of rows compute as many parts: each part draws masks that all processes have."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lmkit.config import Config
from lmkit.distributed.launch import Launch
from lmkit.distributed.world import World
from lmkit.session.placement import Placement
from lmkit.session.setup import prepare
from lmkit.training.graphs import StepInputs
from tests.runs import SMALL, write_text


@pytest.mark.parametrize(("accumulate", "expected"), [(5, [2, 2]), (2, [2, 2]), (1, [1, 1])])
def test_parts_are_as_many_in_all_processes(tmp_path: Path, accumulate: int, expected: list[int]):
    own: dict[str, Any] = {"batch_size": 5, "accumulate": accumulate, "weight_drop": 0.3}
    config = Config().override({**SMALL, "corpus": str(write_text(tmp_path)), **own})
    found, before = [], torch.get_rng_state()
    for rank in range(2):
        world = World(Launch(rank, 2, rank, 2))
        setup = prepare(config, Placement(torch.device("cpu"), torch.float32, 1, world))
        window = next(setup.sampler.epoch(0, 0, world.rows(5)))
        state = setup.train.model.initial_state(len(window.inputs))
        given = StepInputs(window.inputs, window.targets, state, 1.0, 0.1)
        found.append(len(given.parts(setup.make_update().accumulate)))
    torch.set_rng_state(before)
    assert found == expected
