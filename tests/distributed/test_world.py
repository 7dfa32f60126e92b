"""Which process this is, and what of the rows is its own."""

from __future__ import annotations

import pytest

from lmkit.distributed.launch import Launch
from lmkit.distributed.world import ALONE, World
from lmkit.errors import ConfigError
from tests.distributed.processes import variables


@pytest.mark.parametrize("rows", [3, 7, 12])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_row_is_of_one_process_and_their_parts_differ_by_one_at_most(rows: int, size: int):
    parts = [range(rows)[World(Launch(rank, size, rank, size)).rows(rows)] for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("rows", [1, 3, 7, 12])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_row_is_found_where_it_is(rows: int, size: int):
    for row in range(rows):
        rank, place = World(Launch(0, size, 0, size)).home(row, rows)
        assert range(rows)[World(Launch(rank, size, rank, size)).rows(rows)][place] == row


def test_a_launch_is_what_torchrun_says():
    assert Launch.read(variables(1, 3, 29500)) == Launch(1, 3, 1, 3)
    assert Launch.read({}) == Launch.read(variables(0, 1, 29500)) == Launch()
    alone_in_its_container = {"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "first", "MASTER_PORT": "29500"}
    assert Launch.read(alone_in_its_container) == Launch(2, 4, 0, 1)


@pytest.mark.parametrize("wrong", [{"RANK": "3"}, {"RANK": ""}, {"LOCAL_RANK": "-1"}, {"WORLD_SIZE": "two"}], ids=str)
def test_what_contradicts_itself_is_refused(wrong: dict[str, str]):
    with pytest.raises(ConfigError, match="contradict each other"):
        Launch.read({**variables(1, 3, 29500), **wrong})


def test_a_process_alone_is_a_world_where_all_of_it_is_nothing():
    assert ALONE.sum(3, 4) == (3, 4)
    assert ALONE.largest(2) == (2,)
    assert (ALONE.gather("x"), ALONE.broadcast("x"), ALONE.main) == (["x"], "x", True)
