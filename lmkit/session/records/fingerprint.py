"""The machine and the versions that decide the last bits of a result."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lmkit.errors import RunError
from lmkit.hardware import describe_cpu
from lmkit.run.version import lmkit_version
from lmkit.session.placement import Placement
from lmkit.session.setup import TrainingSetup

__all__ = ["check_fingerprint", "check_processes", "fingerprint"]

OWN_VERSION = "lmkit"  # of a fingerprint: another version of it trains to the same bits, as tests/stored_runs show


def fingerprint(placement: Placement) -> dict[str, Any]:
    """All that the last bits of a result depend on, apart from the configuration: names and plain values."""
    device = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else str(placement.device)
    return {
        "lmkit": lmkit_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu": f"{describe_cpu().rpartition(', ')[0]} {describe_cpu().rpartition('(')[2].rstrip(')')}",
        "machine": platform.machine(),
        "device": device,
        "precision": str(placement.precision).removeprefix("torch."),
        "threads": placement.threads,
    }


def check_fingerprint(then: Mapping[str, Any], now: Mapping[str, Any], *, allow_inexact: bool) -> list[str]:
    """What differs between two fingerprints, as words. Raises RunError where there is something and it is not
    allowed; another version of lmkit always is.
    """
    if not isinstance(then, Mapping):
        raise RunError("The fingerprint of the machine in run.json or in the newest checkpoint is damaged.")
    differing = [
        f"{name} {then[name]} then, {now[name]} now" for name in now if name in then and then[name] != now[name]
    ]
    refused = [one for one in differing if not one.startswith(f"{OWN_VERSION} ")]
    if refused and not allow_inexact:
        raise RunError(
            f"The result would not be the uninterrupted run's to the last bit: {'; '.join(refused)}. "
            "--allow-inexact resumes all the same."
        )
    return differing


def check_processes(then: int, setup: TrainingSetup, *, allow_inexact: bool) -> list[str]:
    """What differs where a run is resumed in another number of processes, as words. Without masks its result is the
    same to rounding. Raises RunError where masks are drawn and it is not allowed that they are others.
    """
    now = setup.placement.world.size
    if then == now:
        return []
    model = setup.config.model
    masks = any((*model.dropouts, model.weight_drop, model.embedding_type_dropout, model.zoneout))
    if masks and not allow_inexact:
        raise RunError(
            f"The run was trained by {then} process{'es' if then > 1 else ''}, and dropout draws other masks in {now}: "
            f"start {then}, or say --allow-inexact."
        )
    return [f"processes {then} then, {now} now"]
