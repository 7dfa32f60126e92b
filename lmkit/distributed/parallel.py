"""A loss whose gradient is that of all processes: torch's ``DistributedDataParallel`` around its one module."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lmkit.distributed.world import World

__all__ = ["Parallel"]


class Parallel:
    """A module that is called as it is by itself; after the backward pass its parameters have the mean gradient of the
    processes of a world of several.

    A parameter that no process has used keeps the gradient None, as in one process: what a step needs differs (tails of
    an adaptive softmax, a learned initial state), and optimisers pass over None. For that torch looks through the graph
    in each step; its buckets then have one layout from the first step on, so a resumed training adds in the same order
    as the uninterrupted one. Where the trained parameters change (``--unfreeze-every``) it is made anew.
    """

    def __init__(self, module: nn.Module, world: World) -> None:
        self.module, self.world = module, world
        self._trained: list[bool] = []
        self._wrapped: DistributedDataParallel | None = None

    def __call__(self, *window: Any) -> Any:
        """What the module gives."""
        return self._now()(*window)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of calls inside stay in this process, and the next one outside adds them up."""
        with self._now().no_sync():
            yield

    def _now(self) -> DistributedDataParallel:
        trained = [parameter.requires_grad for parameter in self.module.parameters()]
        if self._wrapped is None or trained != self._trained:
            if self._wrapped is not None:
                self._wrapped._remove_autograd_hooks()
            self._trained = trained
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # its new name for broadcast_buffers is younger than 2.10
                self._wrapped = DistributedDataParallel(
                    self.module,
                    process_group=self.world.gradients,
                    broadcast_buffers=False,
                    find_unused_parameters=True,
                    gradient_as_bucket_view=True,
                )
        return self._wrapped
