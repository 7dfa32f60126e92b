"""``lmkit`` as torchrun starts it: one voice, the same end everywhere, no process that waits for one that is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torch._C._distributed_c10d import TCPStore

from lmkit.training import loop
from tests.distributed.processes import free_ports, variables
from tests.forks import ended, start, writer
from tests.runs import SMALL, assert_same, make_text

STEPS = 24
RUN = {**SMALL, "batch_size": 5, "max_steps": STEPS, "eval_every": 9, "checkpoint_every": 4, "checkpoint_seconds": 0}
OPTIONS = [word for name, value in RUN.items() for word in (f"--{name.replace('_', '-')}", str(value))]


class Said(NamedTuple):
    """How the processes ended, and what each wrote."""

    codes: list[int]
    written: list[str]

    @property
    def sentences(self) -> list[str]:
        """What they say of what went wrong."""
        return [line for text in self.written for line in text.splitlines() if line.startswith("Error: ")]


def nothing(rank: int) -> None:
    pass


def lmkit(
    *arguments: str | Path, folders: list[Path], port: int | None = None, before: Callable[[int], None] = nothing
) -> Said:
    """A command in as many processes as there are folders, each in its own. before: is called in each process."""
    size, logs, children = len(folders), [], []
    port = free_ports(1)[0] if port is None else port
    for rank, folder in enumerate(folders):
        logs.append(folder / f"log-{rank}")

        def prepare(rank: int = rank) -> None:
            os.environ.update(variables(rank, size, port))
            before(rank)

        with open(logs[-1], "wb") as log:
            program = [str(one) for one in arguments]
            children.append(start(program, folder, stdout=log.fileno(), stderr=log.fileno(), before=prepare))
    return Said([ended(child) for child in children], [log.read_text() for log in logs])


def die_at(step: int, dying: int) -> Callable[[int], None]:
    """Process ``dying`` ends by SIGKILL when it begins this step."""

    def arm(rank: int) -> None:
        take_step: Any = vars(loop)["take_step"]

        def take_or_die(train: Any, *given: Any, **options: Any) -> Any:
            if rank == dying and train.step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return take_step(train, *given, **options)

        vars(loop)["take_step"] = take_or_die

    return arm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(make_text(), encoding="utf-8", newline="")
    return tmp_path


def train(folder: Path, *more: str | Path, processes: int = 2, **how: Any) -> Said:
    return lmkit("train", "text.txt", *OPTIONS, *more, folders=[folder] * processes, **how)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_all_and_the_run_goes_on(folder: Path):
    assert train(folder, "--dropout", "0.3", "--out", "whole").codes == [0, 0]
    for dying in (1, 0):
        run = folder / f"killed-{dying}"
        said = train(folder, "--dropout", "0.3", "--out", run, before=die_at(14, dying))
        codes = [-signal.SIGKILL, 1] if dying == 0 else [1, -signal.SIGKILL]
        assert said.codes == codes, said.written
        assert len(said.sentences) == 1
        assert "Another process of this training has ended" in said.sentences[0]
        assert lmkit("train", "--resume", run, folders=[folder] * 2).codes == [0, 0]
        assert_same(run, folder / "whole")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "text.txt", "--batch-size", "1"], "2 processes need a row each, and --batch-size 1 gives only 1"),
        (["train", "text.txt", "--lr", "fast"], "--lr"),
        (["train", "--resume", "nowhere"], "There is no run folder nowhere"),
        (["train", "no-such-text"], "no-such-text"),
        (["train", "-"], "cannot share standard input"),
        (["sample", "run"], "`lmkit sample` runs in one process, and torchrun has started 2"),
        (["ppl", "run", "text.txt", "--cache", "9"], "adapters and mixtures are measured in one process"),
        (["eval", "run", "-"], "cannot share standard input"),
        (["tokenize", "-"], "cannot share standard input"),
        (["tokenize", "no-such-text"], "no-such-text"),
    ],
    ids=str,
)
def test_a_mistake_is_said_once_and_ends_all(folder: Path, arguments: list[str], sentence: str):
    said = lmkit(*arguments, folders=[folder] * 2)
    assert said.codes == [2, 2], said.written
    assert len(said.sentences) == 1
    assert sentence in said.sentences[0]
    assert sorted(path.name for path in folder.iterdir()) == ["log-0", "log-1", "text.txt"]


def test_a_run_is_measured_as_by_one_process_and_one_of_them_says_so(folder: Path):
    assert train(folder, "--max-steps", "2", "--out", "run", processes=1).codes == [0]
    alone = lmkit("eval", "run", "text.txt", "--rows", "3", "--json", folders=[folder])
    said = lmkit("eval", "run", "text.txt", "--rows", "3", "--json", folders=[folder] * 2)
    assert said.codes == [0, 0], said.written
    assert said.written[1] == ""
    found, expected = json.loads(said.written[0]), json.loads(alone.written[0])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    (folder / "list").write_text("a\t1\tthe cat sat.\na\t2\ta dog ran.\nb\t0\ta mat.\n")
    for what in (["text.txt", "text.txt", "--state", "line"], ["--nbest", "list"]):
        alone, said = (lmkit("score", "run", *what, folders=[folder] * size) for size in (1, 2))
        assert said.codes == [0, 0], said.written
        assert said.written[1] == ""
        one, both = ([line.split("\t") for line in some.written[0].splitlines()] for some in (alone, said))
        assert [line[:2] for line in both] == [line[:2] for line in one]
        assert [len(line) for line in both] == [len(line) for line in one]
    refused = lmkit("eval", "run", folders=[folder] * 2)
    assert refused.codes == [2, 2]
    assert len(refused.sentences) == 1
    assert "2 processes need a row each, and the text is read in 1: give --rows 2" in refused.sentences[0]


def nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("output", "code", "sentences"),
    [(nobody_reads, 0, 0), (lambda: os.open("/dev/full", os.O_WRONLY), 1, 1)],
    ids=["a closed pipe", "a full disk"],
)
def test_where_scores_can_go_nowhere_all_processes_end(
    folder: Path, output: Callable[[], int], code: int, sentences: int
):
    assert train(folder, "--max-steps", "2", "--out", "run", processes=1).codes == [0]

    def before(rank: int) -> None:
        if rank == 0:
            sys.stdout = writer(output())

    said = lmkit("score", "run", "text.txt", "--state", "line", folders=[folder] * 2, before=before)
    assert said.codes == [code, code], said.written
    assert len(said.sentences) == sentences, said.written


@pytest.mark.parametrize("how", [["--tokenizer", "word"], ["--limit", "7", "--json"], ["--stats", "--json"]], ids=str)
def test_a_text_is_counted_as_by_one_process_and_one_of_them_says_so(folder: Path, how: list[str]):
    alone, said = (lmkit("tokenize", "text.txt", *how, folders=[folder] * size) for size in (1, 2))
    assert said.codes == [0, 0], said.written
    assert said.written == [alone.written[0], ""]


def test_a_mistake_before_they_have_met_is_said_by_the_first_that_makes_it(folder: Path):
    port = free_ports(1)[0]

    def keep() -> None:
        kept = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
        time.sleep(120)
        del kept

    def mistaken(rank: int) -> tuple[int, str]:
        def before() -> None:
            os.environ.update(variables(rank, 2, port), TORCHELASTIC_USE_AGENT_STORE="True")

        with open(folder / "log", "wb") as log:
            child = start(["train", "text.txt", "--config", "nowhere"], folder, stderr=log.fileno(), before=before)
        return ended(child), (folder / "log").read_text()

    keeper = start(keep, folder)
    try:
        code, said = mistaken(1)
        assert code == 2
        assert "nowhere" in said
        assert mistaken(0) == (2, "")
    finally:
        os.kill(keeper, signal.SIGKILL)
        ended(keeper)


def test_processes_with_other_texts_train_nothing(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("other")
    (other / "text.txt").write_text(make_text(seed=4), encoding="utf-8", newline="")
    said = lmkit("train", "text.txt", *OPTIONS, "--out", "run", folders=[folder, other])
    assert said.codes == [2, 2]
    assert said.sentences == [
        "Error: The text of process 1 differs from that of process 0: all processes need the same."
    ]
    assert not (folder / "run").exists()


def test_a_port_that_is_in_use_is_named(folder: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])

        def alone(rank: int) -> None:  # of the two only the first was started
            os.environ["WORLD_SIZE"] = os.environ["LOCAL_WORLD_SIZE"] = "2"

        said = train(folder, "--out", "run", processes=1, port=port, before=alone)
    assert said.codes == [2]
    assert f"127.0.0.1:{port}, where the processes are to meet, is in use" in said.sentences[0]
