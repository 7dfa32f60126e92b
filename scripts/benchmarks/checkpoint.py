"""What a checkpoint costs, against a plain torch.save of the same state with fsync."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.case import Case, Settings, Step

PRESET = "wikitext2-8min"
CORPUS = "python-stdlib"


def session_of(settings: Settings) -> tuple[Any, Path]:
    """A training after its first step, with the optimiser's moments, and the folder it writes to."""
    import torch

    from lmkit.cli.options import make_config
    from lmkit.session.session import Session

    assert settings.folder is not None
    given: dict[str, Any] = {
        "corpus": settings.corpus or ("pydoc" if settings.tiny else CORPUS),
        "threads": settings.threads,
        "max_steps": 1,
        "eval_every": 10**9,
    }
    if settings.tiny:
        given |= {
            "hidden_size": 8,
            "num_layers": 1,
            "embedding_size": 8,
            "vocab_size": 50,
            "batch_size": 2,
            "window": 4,
        }
    torch.set_num_threads(settings.threads)
    session = Session(make_config(PRESET, None, given), settings.folder / "run")
    next(session.records())
    return session, settings.folder


def plain(settings: Settings) -> Step:
    """The baseline, frozen: all tensors into one file, flushed to the disk."""
    import torch

    session, folder = session_of(settings)
    state = session.train.state_dict()

    def step() -> float:
        with (folder / "plain.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        return 1.0

    return step


def own(settings: Settings) -> Step:
    """lmkit's checkpoint: written, sealed, renamed, and the oldest one removed."""
    session, _ = session_of(settings)

    def step() -> float:
        session.train.step += 1  # a folder of its own each time
        assert session.save()
        return 1.0

    return step


CASES = [Case("checkpoint/wikitext2-8min", "checkpoints", "torch.save and fsync", plain, own)]
