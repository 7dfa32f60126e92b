"""What a training draws its random numbers from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lmkit.distributed.world import ALONE, World

__all__ = ["Generators"]

OF_ALL = 0xA11  # no process has this number


@dataclass(frozen=True)
class Generators:
    """torch's own generators, which each process of a world has for the masks of its rows, and where there are several
    the one that draws the same in all of them (``common``), for masks that rows share.
    """

    world: World = ALONE
    common: torch.Generator | None = None

    @classmethod
    def begin(cls, world: World, seed: int, device: torch.device) -> Generators:
        """Draw on from here; the first process from where it is, the others each from a seed of their own."""
        if world.alone:
            return cls(world)
        made = cls(world, torch.Generator(device))
        made._seed(seed)
        return made

    def state_dict(self) -> dict[str, Any]:
        """Those of the first process by the names that they have where it is the only one, and in a world of several
        those of all, which come together here.
        """
        has_gpu = torch.cuda.is_available()
        if self.common is None:
            all_gpus = torch.cuda.get_rng_state_all() if has_gpu else []
            return {"generator": torch.get_rng_state(), "cuda_generators": all_gpus}
        mine = (torch.get_rng_state(), [torch.cuda.get_rng_state()] if has_gpu else [])
        (cpu, cuda), *others = self.world.gather(mine)
        common = self.common.get_state()
        return {"generator": cpu, "cuda_generators": cuda, "other_generators": others, "common_generator": common}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Draw on from ``state_dict``. Of another number of processes only the first one goes on; the others begin anew
        from a seed that follows from it.
        """
        states = [(values["generator"], values["cuda_generators"]), *values.get("other_generators", [])]
        same = len(states) == self.world.size
        cpu, cuda = states[self.world.rank if same else 0]
        torch.set_rng_state(cpu)
        if cuda and self.world.alone and same:
            torch.cuda.set_rng_state_all(cuda)
        elif cuda:
            torch.cuda.set_rng_state(cuda[0])
        if self.common is None:
            return
        if same:
            self.common.set_state(values["common_generator"])
        else:
            self._seed(int(torch.randint(2**62, (), generator=torch.Generator().set_state(cpu))))

    def _seed(self, seed: int) -> None:
        assert self.common is not None, "in a world of several processes"
        self.common.manual_seed(_mixed(seed, OF_ALL))
        if not self.world.main:
            torch.manual_seed(_mixed(seed, self.world.rank))


def _mixed(*keys: int) -> int:
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
