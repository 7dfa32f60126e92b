"""A Python script in several processes: ``lmkit.train`` and ``lmkit.resume`` train one model, again and again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

import lmkit
from lmkit.distributed.script import world_of_script
from lmkit.errors import LmkitError
from tests.distributed.processes import Join, in_processes
from tests.runs import SMALL, labelled_csv, write_text

SAID = "the cat sat on a mat."
OPTIONS: dict[str, Any] = {**SMALL, "dropout": 0.0, "sampler": "random", "max_steps": 6, "quiet": True}
FULL = "The disk is full."


def refusal(call: Callable[..., Any], *given: Any, **options: Any) -> str:
    try:
        call(*given, **options)
    except LmkitError as error:
        return str(error)
    return "no error"


def script(folder: Path, runs: Path) -> list[float]:
    """What one may write: a training that goes on, and another one. Perplexities of what comes back."""
    text = folder / "text.txt"
    first = lmkit.train(text, out=runs / "first", **OPTIONS)
    more = lmkit.resume(runs / "first", max_steps=9, quiet=True)
    again = {name: value for name, value in OPTIONS.items() if name != "hidden_size"}
    tuned = lmkit.train(text, init_from=runs / "first", out=runs / "tuned", **again)
    split, tokens = tuned.split_tokens("train")
    shared = tuned.measure(tokens, rows=4, split=split, world=world_of_script())
    return [*(lm.perplexity(SAID) for lm in (first, more, tuned)), shared.evaluation.perplexity]


def fail_to_end(folder: Path, patch: pytest.MonkeyPatch) -> str:
    """What is said where the disk of the first process does not take the end of a run."""
    if world_of_script().main:
        patch.setattr("lmkit.session.session.Session._end", lambda self, **how: setattr(self, "unsaved", FULL))
    return refusal(lmkit.train, folder / "text.txt", out=folder / "lost", **OPTIONS)


def test_a_script_trains_one_model_in_all_its_processes(tmp_path: Path):
    text = write_text(tmp_path)
    (tmp_path / "train.csv").write_text(labelled_csv(), encoding="utf-8")
    lmkit.train_classifier(tmp_path / "train.csv", out=tmp_path / "classes", max_steps=1, quiet=True, **SMALL)

    def work(join: Join) -> Any:
        said = [
            refusal(lmkit.train, text, out=tmp_path / "none", **{**OPTIONS, "batch_size": 1}),
            refusal(lmkit.train, text, out=tmp_path / "none", **{**OPTIONS, "lr": 0.1 + int(os.environ["RANK"])}),
            refusal(lmkit.train, text, out=tmp_path / "none", **{**OPTIONS, "init_from": "nowhere"}),
            refusal(lmkit.resume, tmp_path / "classes", max_steps=2),
            refusal(lmkit.train_classifier, tmp_path / "train.csv"),
            refusal(lmkit.experiment, "one-unit"),
        ]
        found = script(tmp_path, tmp_path / "two")
        with pytest.MonkeyPatch.context() as patch:
            return found, [*said, fail_to_end(tmp_path, patch)]

    (found, said), other = in_processes(2, work, tmp_path)
    assert other == (found, said)
    assert found == pytest.approx(script(tmp_path, tmp_path / "one"), rel=1e-4)
    expected = [
        "2 processes need a row each, and --batch-size 1 gives only 1",
        "The configuration of process 1 differs from that of process 0",
        "There is no run folder nowhere",
        "lmkit.resume of a classifier runs in one process, and torchrun has started 2: leave torchrun out.",
        "lmkit.train_classifier runs in one process, and torchrun has started 2: leave torchrun out.",
        "lmkit.experiment runs in one process, and torchrun has started 2: leave torchrun out.",
        FULL,
    ]
    assert [one in whole for one, whole in zip(expected, said, strict=True)] == [True] * len(said), said
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["first", "tuned"]
    assert not (tmp_path / "none").exists()


def test_a_process_group_that_is_there_already_is_not_taken_over(tmp_path: Path):
    def work(join: Join) -> str:
        world = join()
        assert dist.is_initialized()
        said = refusal(lmkit.train, tmp_path / "text.txt")
        world.gather(said)  # nobody ends while another one still joins
        return said

    (said, _) = in_processes(2, work, tmp_path)
    assert "has a process group of torch already" in said
