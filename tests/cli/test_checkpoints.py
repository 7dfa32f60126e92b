"""The models of a run: the best one, the last one, and those of its checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import lmkit
from tests.runs import SMALL

COMMANDS = (("eval", "--json"), ("score", "text.txt", "--per", "line"), ("sample", "--length", "20"))


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """A run whose best model is not its last one."""
    folder = tmp_path_factory.mktemp("checkpoints")
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    options = {"optimizer": "sgd", "lr": 1.0, "weight_decay": 2.5, "schedule": "constant", "cell": "rnn"}
    steps = {"max_steps": 40, "eval_every": 5, "checkpoint_every": 4, "keep_checkpoints": 3}
    with pytest.warns(UserWarning, match="worse than guessing"):
        lmkit.train(folder / "text.txt", out=folder / "run", quiet=True, **{**SMALL, **options, **steps})
    return folder / "run"


@pytest.fixture
def run(run_once: Path, work: Path) -> Path:
    """A copy of it, beside its text."""
    return Path(shutil.copytree(run_once, work / "run"))


def steps_of(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())


def weights(run: Path, checkpoint: str | int) -> list[torch.Tensor]:
    return list(lmkit.load(run, checkpoint=checkpoint).model.state_dict().values())


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def test_best_is_the_default_and_last_is_the_newest_checkpoint(run: Path):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    best = [record["step"] for record in records if record.get("best")][-1]
    steps = steps_of(run)
    assert best != steps[-1], "the last model is not the best one here"
    assert same(weights(run, "best"), weights(run, best))
    assert same(weights(run, "last"), weights(run, steps[-1]))
    assert not same(weights(run, "best"), weights(run, "last"))
    assert same(weights(run, str(steps[0])), weights(run, steps[0]))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_each_command_takes_a_checkpoint(cli, run: Path, command):
    outputs = [cli(command[0], run, *command[1:], "--threads", 1, "--checkpoint", which) for which in ("best", "last")]
    assert [output.code for output in outputs] == [0, 0], outputs
    assert outputs[0].stdout == cli(command[0], run, *command[1:], "--threads", 1).stdout
    assert outputs[0].stdout != outputs[1].stdout


@pytest.mark.parametrize("which", ["3", "newest", "-1", "", "../../text"])
def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(refused, run: Path, which: str):
    message = refused("eval", run, "--checkpoint", which)
    assert ", ".join(map(str, steps_of(run))) in message


def test_a_damaged_checkpoint_is_named_and_last_is_the_one_before(cli, refused, run: Path):
    steps = steps_of(run)
    path = run / "checkpoints" / f"step-{steps[-1]:08d}" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.safetensors" in refused("eval", run, "--checkpoint", steps[-1])
    assert same(weights(run, "last"), weights(run, steps[-2]))
