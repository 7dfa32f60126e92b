"""A training that is killed at any instant and resumed leaves the bytes of the one that was never interrupted."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lmkit.config import Config
from lmkit.run.directory import RunDirectory
from lmkit.run.lock import FolderLock
from lmkit.text import CharacterTokenizer
from tests.runs import labelled_csv

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

WORDS = ["the", "cat", "dog", "sat", "on", "mat", "ran", "to", "tree", "and", "saw", "a", "bird", "fish", "in", "sea"]
STEPS = 40
# An epoch has some 20 windows, so the second and the third are reached; checkpoints and validations do not coincide.
# There is dropout, so that a generator which is not restored shows.
TINY = {
    "--hidden-size": 8,
    "--batch-size": 4,
    "--window": 8,
    "--dropout": 0.3,
    "--lr": 0.02,
    "--max-steps": STEPS,
    "--eval-every": 7,
    "--checkpoint-every": 4,
    "--checkpoint-seconds": 0,
    "--precision": "float32",
    "--threads": 1,
}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "sgd plateau": {"--optimizer": "sgd", "--schedule": "plateau", "--lr": 4.0},
    "adamw cosine": {"--optimizer": "adamw", "--schedule": "cosine"},
}
SAMPLERS: dict[str, dict[str, Any]] = {
    "sequential": {"--sampler": "sequential"},
    "random": {"--sampler": "random"},
    "document": {"--sampler": "document", "--documents": "line"},
}
MATRIX = list(itertools.product(("lstm", "gru", "rnn"), SAMPLERS, OPTIMISERS, ("float32", "bfloat16")))
SAMPLE = MATRIX[::9]  # each cell, sampler, optimiser and precision is in one of these

Train = Callable[..., list[str]]


def load_script() -> Any:
    path = Path(__file__).resolve().parent.parent / "scripts" / "soak.py"
    specification = importlib.util.spec_from_file_location("soak", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


soak = load_script()
Kill = soak.Kill


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Options of a tiny training, some of them changed."""
    soak.import_all()
    draw = random.Random(3)
    lines = (" ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 8))).capitalize() for _ in range(35))
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("".join(f"{line}.\n" for line in lines), encoding="utf-8", newline="")

    def call(changes: dict[str, Any] | None = None) -> list[str]:
        values = {**TINY, "--corpus": text, **(changes or {})}
        return [str(part) for item in values.items() for part in item]

    return call


@pytest.fixture(scope="module")
def reference(options: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the tiny options that nothing interrupted."""
    run = tmp_path_factory.mktemp("reference") / "run"
    finish(["train", *options(), "--out", str(run)], run)
    return run


def finish(arguments: list[str], run: Path) -> None:
    log = run.parent / "last.log"
    life = soak.live(arguments, None, log, fork=True)
    assert life.code == 0, log.read_text(encoding="utf-8")


def kill(arguments: list[str], run: Path, how: Any) -> None:
    """One life that ends as planned."""
    log = run.parent / "killed.log"
    end = run / "checkpoints" / f"step-{STEPS:08d}"
    life = soak.live(arguments, how, log, end=end, fork=True)
    assert life.killed, f"{how}: exit code {life.code}\n{log.read_text(encoding='utf-8')}"


def begin_or_resume(options: list[str], run: Path) -> list[str]:
    return ["train", "--resume", str(run)] if run.exists() else ["train", *options, "--out", str(run)]


NTH = {"half a line": 6, "before a measurement": 3, soak.STEP: 23}  # of the points that come early otherwise


FEW = {"before the first checkpoint", "half a checkpoint", "half a line", soak.STEP}


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=[] if point in FEW else [pytest.mark.slow])
        for point in [*soak.FIRST_POINTS, *soak.POINTS, soak.STEP]
    ],
)
def test_a_training_that_is_killed_here_and_resumed_leaves_the_same_bytes(
    options: Train, reference: Path, tmp_path: Path, point: str
):
    run = tmp_path / "run"
    nth = 1 if point in soak.FIRST_POINTS else NTH.get(point, 2)
    kill(begin_or_resume(options(), run), run, Kill(point, nth=nth))
    assert run.exists() == (point != "creating the run")
    finish(begin_or_resume(options(), run), run)
    assert soak.differences(run, reference) == []


def test_a_training_with_many_lives_leaves_the_same_bytes(options: Train, reference: Path, tmp_path: Path):
    run = tmp_path / "run"
    ends = [Kill(soak.STEP, nth=11), Kill("half a checkpoint", nth=2), Kill("removing"), Kill(soak.CLOSING)]
    for how in ends:
        kill(begin_or_resume(options(), run), run, how)
    finish(begin_or_resume(options(), run), run)
    assert soak.differences(run, reference) == []


@pytest.mark.parametrize(
    "point", [soak.STEP, "half a checkpoint", *(pytest.param(one, marks=pytest.mark.slow) for one in soak.POINTS)]
)
def test_a_training_of_a_classifier_that_is_killed_leaves_the_bytes_of_one_that_was_not(
    options: Train, tmp_path: Path, point: str
):
    data = tmp_path / "train.csv"
    data.write_text(labelled_csv(), encoding="utf-8")
    given = options({"--data": data})
    given = given[: given.index("--corpus")] + given[given.index("--corpus") + 2 :]

    def life(run: Path) -> list[str]:
        begun = ["--resume", str(run)] if run.exists() else [*given, "--out", str(run)]
        return ["classify", "train", *begun]

    whole, run = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    for folder in (whole, run):
        folder.parent.mkdir()
    finish(life(whole), whole)
    kill(life(run), run, Kill(point, nth=NTH.get(point, 2)))
    finish(life(run), run)
    assert soak.differences(run, whole) == []


def test_a_kill_before_anything_has_happened_is_a_kill(options: Train, tmp_path: Path):
    kill(begin_or_resume(options(), tmp_path / "run"), tmp_path / "run", Kill(soak.RANDOM))
    assert [path.name for path in tmp_path.iterdir()] == ["killed.log"]


@pytest.mark.slow
def test_a_training_that_is_killed_again_before_it_gets_anywhere_still_finishes(
    options: Train, reference: Path, tmp_path: Path
):
    run = tmp_path / "run"
    for _ in range(2):
        kill(begin_or_resume(options(), run), run, Kill("before the first checkpoint"))
    for point in ("written", "written", "half a line"):
        kill(begin_or_resume(options(), run), run, Kill(point))
    finish(begin_or_resume(options(), run), run)
    assert soak.differences(run, reference) == []


@cache
def instant(*names: str) -> int:
    """The step that a training of the matrix does not survive: as good as random, the same in each test run."""
    return random.Random(" ".join(names)).randrange(1, STEPS)


@pytest.mark.parametrize(
    ("cell", "sampler", "optimiser", "precision"),
    [
        pytest.param(*names, id=", ".join(names), marks=[] if names in SAMPLE else [pytest.mark.slow])
        for names in MATRIX
    ],
)
def test_every_kind_of_training_survives_a_kill(
    options: Train,
    tmp_path: Path,
    needs_bfloat16: Callable[..., None],
    cell: str,
    sampler: str,
    optimiser: str,
    precision: str,
):
    needs_bfloat16(cell, precision)
    given = options({"--cell": cell, "--precision": precision, **SAMPLERS[sampler], **OPTIMISERS[optimiser]})
    whole, run = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    for folder in (whole, run):
        folder.parent.mkdir()
    finish(begin_or_resume(given, whole), whole)
    kill(begin_or_resume(given, run), run, Kill(soak.STEP, nth=instant(cell, sampler, optimiser, precision)))
    finish(begin_or_resume(given, run), run)
    assert soak.differences(run, whole) == []


@pytest.mark.parametrize("policy", [pytest.param("skip", marks=pytest.mark.slow), "rollback"])
def test_steps_that_are_not_finite_are_dealt_with_in_the_same_way_after_a_kill(
    options: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
):
    loop: Any = importlib.import_module("lmkit.training.loop")
    take_step = loop.take_step

    def divide_by_zero(train: Any, window: Any, update: Any, **given: Any) -> Any:
        changes = {"targets_per_window": 0.0} if train.step + 1 in (11, 23, 30, 31) else {}
        return take_step(train, window, update, **{**given, **changes})

    monkeypatch.setattr(loop, "take_step", divide_by_zero)  # the children inherit it
    given = options({"--on-nonfinite": policy})
    whole, run = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    for folder in (whole, run):
        folder.parent.mkdir()
    finish(begin_or_resume(given, whole), whole)
    assert len(list((whole / "reports").iterdir())) == 4
    for nth in (22, 10, 6):  # from the last multiple of 4: after steps 22, 30 and 34
        kill(begin_or_resume(given, run), run, Kill(soak.STEP, nth=nth))
    finish(begin_or_resume(given, run), run)
    assert soak.differences(run, whole) == []


def test_a_comparison_sees_a_changed_byte_and_a_file_too_many_or_too_few(reference: Path, tmp_path: Path):
    last = f"checkpoints/{soak.newest_checkpoint(reference).name}"
    names = sorted(path.relative_to(reference).as_posix() for path in reference.rglob("*") if path.is_file())
    compared = [name for name in names if not name.startswith("checkpoints/") or name.startswith(last)]
    free = {"lock", "timings.jsonl", f"{last}/clock.json", f"{last}/manifest.json"}
    assert {f"{last}/training.safetensors", "metrics.jsonl", "model.safetensors"} < set(compared) - free
    run = shutil.copytree(reference, tmp_path / "run")
    assert soak.differences(run, reference) == []
    for name in compared:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[:-1] + b"?")
        assert soak.differences(run, reference) == ([] if name in free else [name])
        (run / name).unlink()
        assert soak.differences(run, reference) == [f"{name} is missing"]
        (run / name).write_bytes(content)
    for name in (".model.safetensors.0123456789abcdef", "checkpoints/.tmp-step-00000040-1"):
        (run / name).mkdir()
        assert soak.differences(run, reference) == [f"{name} is left over"]
        (run / name).rmdir()


def call(work: Path, options: list[str], kills: int) -> int:
    own = ["--kills", str(kills), "--lives", "4", "--work", str(work), "--fork"]
    code: int = soak.main([*own, "--", *options])
    return code


@pytest.mark.slow
def test_a_soak_kills_compares_and_goes_on_where_it_was_ended(
    options: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert call(tmp_path / "work", options(), 1) == 0
    first = (tmp_path / "work" / "soak.jsonl").read_text(encoding="utf-8")
    with open(tmp_path / "work" / "soak.jsonl", "a", encoding="utf-8") as file:
        file.write('{"kind": "li')  # it was killed, too
    assert call(tmp_path / "work", options(), 5) == 0
    assert (tmp_path / "work" / "soak.jsonl").read_text(encoding="utf-8").startswith(first)
    said = capsys.readouterr().out.splitlines()
    assert said[-1].endswith(" finished runs, 0 differences, 0 lost runs")
    assert int(said[-4].split(" kills: ")[0]) >= 5
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["reference", "soak.jsonl"]
    with pytest.raises(SystemExit, match="other options"):
        call(tmp_path / "work", options({"--lr": 0.01}), 6)


def test_a_soak_reports_what_differs_and_what_cannot_be_resumed(
    options: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    work = tmp_path / "work"
    assert call(work, options(), 0) == 0
    metrics = work / "reference" / "run" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + b"\n")
    assert call(work, options(), 1) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"  {work / 'trial-0001'}: metrics.jsonl"
    assert (work / "trial-0001" / "life-00.log").is_file()
    kills = sum(record["killed"] for record in soak.Soak(work, options(), 1, 4).of("life"))
    (work / "trial-0002" / "run").mkdir(parents=True)  # no run of lmkit's
    assert call(work, options(), kills + 1) == 1
    assert f"  {work / 'trial-0002'}: exit code 2" in capsys.readouterr().out.splitlines()


def test_a_training_ends_with_the_soak_that_began_it(options: Train, tmp_path: Path):
    ours, theirs = os.pipe()
    given = options({"--max-steps": 10_000_000})
    child = soak._start(begin_or_resume(given, tmp_path / "run"), None, tmp_path / "log", (ours, theirs), None, True)
    os.close(ours)
    os.close(theirs)  # as the end of the soak closes it
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def create(path: Path) -> RunDirectory:
    return RunDirectory.create(path, Config(), CharacterTokenizer(["<unk>", "<eos>", "a"]), {})


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_kill_while_the_run_is_created_leaves_only_what_the_next_run_of_that_name_removes(
    options: Train, tmp_path: Path
):
    run, folder = tmp_path / "runs" / "run", tmp_path / "runs"
    (tmp_path / "other").mkdir()
    kill(begin_or_resume(options(), run), tmp_path / "other", Kill("creating the run"))
    (left,) = folder.iterdir()
    assert left.name.startswith(".run.unfinished-")
    create(folder / "other")
    assert hidden(folder) == [left.name], "it may be wanted by whoever looks for it"
    create(run)
    assert sorted(path.name for path in folder.iterdir()) == ["other", "run"]


def test_a_run_that_another_process_is_creating_is_left_alone(tmp_path: Path):
    theirs = tmp_path / ".run.unfinished-abcdefgh"
    theirs.mkdir()
    lock = FolderLock(theirs)
    create(tmp_path / "run")
    assert hidden(tmp_path) == [theirs.name]
    lock.release()


def test_folders_of_the_users_that_are_hidden_too_are_left_alone(tmp_path: Path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / ".run.original").mkdir()
    (tmp_path / ".run.unfinished-linked").symlink_to(tmp_path / "precious", target_is_directory=True)
    create(tmp_path / "run")
    assert hidden(tmp_path) == [".run.original", ".run.unfinished-linked"]
    assert (tmp_path / "precious" / "file").exists()


def test_the_sample_of_the_matrix_has_a_bit_of_everything():
    for part in range(4):
        assert {names[part] for names in SAMPLE} == {names[part] for names in MATRIX}
