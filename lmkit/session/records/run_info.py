"""What run.json records of a run: its text, its machine, its versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lmkit.hardware import describe_cpu
from lmkit.run.version import lmkit_version
from lmkit.session.placement import placement_options
from lmkit.session.records.fingerprint import fingerprint
from lmkit.session.records.resolved import resolved_options
from lmkit.session.setup import TrainingSetup

__all__ = ["run_info", "versions"]


def run_info(setup: TrainingSetup) -> dict[str, Any]:
    """Corpus with its hashes, versions, machine, threads, precision and the options in effect, as plain values."""
    corpus = setup.corpus
    splits = {
        name: {"tokens": len(split), "sha256": split.sha256, **vars(split.counts)}
        for name, split in corpus.splits.items()
    }
    origin = {} if setup.init_from is None else {"init_from": dict(setup.init_from)}
    return {
        **origin,
        "corpus": {"name": corpus.name, **corpus.info},
        "splits": splits,
        "tokenizer_sha256": corpus.tokenizer.sha256,
        "parameters": sum(parameter.numel() for parameter in setup.train.model.parameters()),
        "versions": {**versions(), "numpy": np.__version__},
        "cpu": describe_cpu(),
        **placement_options(setup.placement),
        **({} if setup.placement.world.alone else {"processes": setup.placement.world.size}),
        "resolved": resolved_options(setup.config, corpus.tokenizer, setup.placement),
        "fingerprint": fingerprint(setup.placement),
    }


def versions() -> dict[str, str]:
    """Of lmkit and torch."""
    return {"lmkit": lmkit_version(), "torch": torch.__version__}
