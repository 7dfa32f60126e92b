"""Kills trainings, resumes them, and compares what they leave with a run that was never interrupted.

    .venv/bin/python scripts/soak.py --kills 100 --threads 1 --work runs/soak [-- --cell gru --epochs 3]

A trial is one training in several lives. All but the last are ended by SIGKILL: at a random instant of what is left to
do (set-up, training, validation, closing measurement), or at a point where a crash would hurt most. The next life
resumes; where the kill came before there was a run, it starts again. The last life is left to finish, and its files
must have the bytes of the reference run's. Options after -- are those of `lmkit train`; without any, its defaults are
trained. --checkpoint-every, which changes no result, is added: without it few lives would get beyond the last one.

Every life and every trial is a line in WORK/soak.jsonl. The same call goes on where the last one was ended, with more
--kills too. A trial that fails keeps its folder, with the logs of its lives. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

RANDOM, CLOSING = "random", "closing"
FIRST_POINTS = ("creating the run", "before the first checkpoint")
POINTS = (
    "half a checkpoint",
    "written",
    "before the rename",
    "renamed",
    "removing",
    "half a line",
    "before the model's rename",
    "after the model's rename",
    "before a measurement",
)
STEP = "after a step"  # before it is recorded
CHECKPOINT_EVERY = 25
OF_THE_CLOCK = ("timings.jsonl", "clock.json", "manifest.json", "lock")
POLL = 0.002
KILLED = "soak: killed at: "


class Kill(NamedTuple):
    """How a life ends. wait: seconds from its beginning, for CLOSING from the last checkpoint of the run; a point
    counts only after them. nth: which time of the point it is.
    """

    point: str
    wait: float = 0.0
    nth: int = 1


class Life(NamedTuple):
    """How a life ended. code: what the process returned. killed: whether it was this kill that ended it. phase: what
    it was busy with at the end.
    """

    code: int
    killed: bool
    phase: str
    seconds: float


# ---- in the process that trains


def train(arguments: list[str], kill: Kill | None) -> None:
    """``lmkit ARGUMENTS`` in this process, which ends itself at the point of the kill, and with the soak's own end."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from lmkit.cli import main

    if kill is not None and kill.point not in (RANDOM, CLOSING):
        arm(kill)
    main(arguments, prog_name="lmkit")


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        os.read(0, 1)  # nothing is ever written: this returns when the other end is closed
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kill: Kill) -> None:
    """Make this process end itself when it reaches the point."""
    from lmkit.run import log as run_log
    from lmkit.run.checkpoints import folder
    from lmkit.session.measurements import Measurements
    from lmkit.training import loop

    started = time.monotonic()
    times = itertools.count(1)

    def due(point: str) -> bool:
        return point == kill.point and time.monotonic() - started >= kill.wait and next(times) == kill.nth

    def die() -> None:
        os.write(2, f"{KILLED}{kill.point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(point: str) -> None:
        if due(point):
            die()

    save, write_file, write_lines = folder.CheckpointFolder.save, folder._write, run_log._write_all
    rename, replace, measure, take_step = Path.rename, os.replace, Measurements.interruptible, loop.take_step

    def save_or_die(self: Any, *arguments: Any) -> None:
        if not self.steps():
            reached("before the first checkpoint")
        save(self, *arguments)

    def write_file_or_half(path: Path, content: bytes) -> None:
        if due("half a checkpoint"):
            path.write_bytes(content[: len(content) // 2])
            die()
        write_file(path, content)

    def write_lines_or_half(file: Any, content: bytes) -> None:
        if due("half a line"):
            file.write(content[: len(content) // 2])
            die()
        write_lines(file, content)

    def rename_or_die(self: Path, target: Any) -> Path:
        if (self / "config.json").exists():
            reached("creating the run")
        return rename(self, target)

    def replace_or_die(source: Any, target: Any) -> None:
        is_model = Path(target).name == "model.safetensors"
        if is_model:
            reached("before the model's rename")
        replace(source, target)
        if is_model:
            reached("after the model's rename")

    def measure_or_die(self: Measurements) -> Any:
        reached("before a measurement")
        return measure(self)

    def take_step_and_die(*arguments: Any, **options: Any) -> Any:
        taken = take_step(*arguments, **options)
        reached(STEP)
        return taken

    patches: list[tuple[Any, str, Any]] = [
        (folder, "reached", reached),
        (folder, "_write", write_file_or_half),
        (folder.CheckpointFolder, "save", save_or_die),
        (run_log, "_write_all", write_lines_or_half),
        (Path, "rename", rename_or_die),
        (os, "replace", replace_or_die),
        (Measurements, "interruptible", measure_or_die),
        (loop, "take_step", take_step_and_die),
    ]
    for owner, name, value in patches:
        setattr(owner, name, value)


# ---- in the process that watches


def live(
    arguments: list[str],
    kill: Kill | None,
    log: Path,
    *,
    end: Path | None = None,
    cache: Path | None = None,
    fork: bool = False,
) -> Life:
    """Start ``lmkit ARGUMENTS`` and wait until it ends, or is killed.

    end: the checkpoint that a finished training leaves. cache: where texts are kept as tokens, if not in the user's own
    cache. fork: not a fresh interpreter but a child that has imported what this process has; with one thread only.
    """
    started = time.monotonic()
    log.write_bytes(b"")  # for a kill that comes before the child has opened it
    ours, theirs = os.pipe()
    pid = _start(arguments, kill, log, (ours, theirs), cache, fork)
    os.close(ours)
    ended_at: float | None = None
    code = None
    try:
        while code is None:
            now = time.monotonic()
            if ended_at is None and end is not None and end.is_dir():
                ended_at = now
            if kill is not None and (
                (kill.point == RANDOM and now - started >= kill.wait)
                or (kill.point == CLOSING and ended_at is not None and now - ended_at >= kill.wait)
            ):
                break
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(POLL)
    finally:
        if code is None:
            os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(theirs)
    said = log.read_text(encoding="utf-8", errors="replace")
    at_point = kill is not None and f"{KILLED}{kill.point}\n" in said
    killed = code == -signal.SIGKILL and (at_point or (kill is not None and kill.point in (RANDOM, CLOSING)))
    phase = "training" if said.startswith("run ") or "\nrun " in said else "set-up"
    if phase == "training" and end is not None and end.is_dir():
        phase = "closing"
    return Life(code, killed, phase, time.monotonic() - started)


def import_all() -> None:
    """What a training imports: once here, and not in each child."""
    import torch._dynamo  # noqa: F401  slow, and torch does it behind the scenes

    import lmkit.classify.training.kind
    import lmkit.cli.train
    import lmkit.console.training
    import lmkit.session.session  # noqa: F401


def _start(
    arguments: list[str], kill: Kill | None, log: Path, pipe: tuple[int, int], cache: Path | None, fork: bool
) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()  # a Ctrl-C is for the soak: the training goes with it
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(pipe[0], 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(pipe[1])
        if cache is not None:
            os.environ["LMKIT_CACHE"] = str(cache)
        if not fork:
            os.execv(sys.executable, [sys.executable, __file__, "--worker", json.dumps([arguments, kill])])
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        train(arguments, kill)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint of the highest step, by its name."""
    return max((run / "checkpoints").glob("step-*"), key=lambda place: int(place.name[5:]), default=None)


def step_of(run: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    place = newest_checkpoint(run)
    return 0 if place is None else int(place.name[5:])


def differences(run: Path, reference: Path) -> list[str]:
    """What is not as in the reference: names of files that are missing, too many, or of other bytes. Of the
    checkpoints only the last is compared, for clocks have a say in which of the others are kept.
    """
    found = []
    mine, theirs = contents(run), contents(reference)
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine:
            found.append(f"{name} is missing")
        elif name not in theirs:
            found.append(f"{name} is left over")
        elif mine[name] != theirs[name]:
            found.append(name)
    beside = sorted(path.name for path in run.parent.iterdir() if path.name.startswith("."))
    return found + [f"../{name} is left over" for name in beside]


def contents(run: Path) -> dict[str, str]:
    """sha256 of all files that are functions of the run, by their names; of those that are not, only the names."""
    last = newest_checkpoint(run)
    found = {}
    for path in sorted(run.rglob("*")):
        if any(place.name.startswith("step-") and place != last for place in (path, *path.parents)):
            continue
        name = path.relative_to(run).as_posix()
        if path.is_file():
            is_clock = path.name in OF_THE_CLOCK
            found[name] = "" if is_clock else hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name.startswith("."):
            found[name] = "a folder"
    return found


class Reference(NamedTuple):
    """The uninterrupted run: its last step, and the seconds of its set-up, its training, and what came after."""

    step: int
    setup: float
    training: float
    closing: float


def plan(reference: Reference, seed: int, trial: int, life: int, lives: int, step: int, *, begun: bool) -> Kill | None:
    """How this life is to end; None for the last one. Together the random instants of a trial are uniform over all
    that there is to do: each is the least of as many draws as there are kills to come.
    """
    to_come = lives - 1 - life
    if to_come <= 0:
        return None
    draw = random.Random(f"{seed} {trial} {life}")
    share = 1.0 - (1.0 - draw.random()) ** (1.0 / to_come)
    kind, point, first = draw.random(), draw.choice(POINTS), draw.choice(FIRST_POINTS)
    left = 1.0 - step / reference.step
    wait = share * (reference.setup + left * reference.training + reference.closing)
    if step == 0 and kind < 0.3:
        return Kill(FIRST_POINTS[-1] if begun else first)
    if left <= 0.0:  # only set-up and closing are left, and almost no point of the named ones
        return Kill(RANDOM, wait)
    if to_come <= 2 and kind < 0.6:
        return Kill(CLOSING, draw.random() * reference.closing)
    return Kill(RANDOM, wait) if kind < 0.5 else Kill(point, wait)


class Soak:
    """The work folder of one call, its records, and what is still to be done."""

    def __init__(self, work: Path, options: list[str], seed: int, lives: int, *, fork: bool = False) -> None:
        self.work, self.options, self.seed, self.lives, self.fork = work, options, seed, lives, fork
        self.path = work / "soak.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        self.records = self._read()
        stamp = {"kind": "soak", "options": options, "seed": seed, "lives": lives, "build": build()}
        if not self.records:
            self.add(stamp)
        elif self.records[0] != stamp:
            raise SystemExit(f"{self.path} is of a call with other options or another lmkit: give another --work.")

    def _read(self) -> list[dict[str, Any]]:
        """Whole lines only: the soak may have been killed, too."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self.path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def add(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["kind"] == kind]

    @property
    def kills(self) -> int:
        return sum(record["killed"] for record in self.of("life"))

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [record for record in self.of("trial") if record["lost"] or record["differences"]]

    def run(self, kills: int) -> None:
        """Make the reference, then trials until there were so many kills; the last trial is brought to its end."""
        reference = self.reference()
        for number in itertools.count(1):
            done = {record["trial"] for record in self.of("trial")}
            begun = {record["trial"] for record in self.of("life")}
            if number in done:
                continue
            if self.kills >= kills and number not in begun:
                return
            self.trial(number, reference)

    def reference(self) -> Reference:
        """The uninterrupted run; made once."""
        folder = self.work / "reference"
        if not self.of("reference"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            started = time.time()
            life = live(self._begin(folder / "run"), None, folder / "log", cache=folder / "cache", fork=self.fork)
            last = newest_checkpoint(folder / "run")
            if life.code != 0 or last is None:
                raise SystemExit(f"The uninterrupted run failed: see {folder / 'log'}.")
            setup = (folder / "run" / "config.json").stat().st_mtime - started
            closing = started + life.seconds - last.stat().st_mtime
            times = Reference(step_of(folder / "run"), setup, life.seconds - setup - closing, closing)
            self.add({"kind": "reference", **times._asdict()})
        record = self.of("reference")[0]
        reference = Reference(*(record[name] for name in Reference._fields))
        print(
            f"uninterrupted: {reference.step:,} steps; set-up {reference.setup:.1f} s, "
            f"training {reference.training:.1f} s, closing {reference.closing:.1f} s",
            flush=True,
        )
        return reference

    def trial(self, number: int, reference: Reference) -> None:
        """Lives until the run is finished, and the comparison."""
        folder = self._folder(number)
        run = folder / "run"
        folder.mkdir(exist_ok=True)
        end = run / "checkpoints" / f"step-{reference.step:08d}"
        while True:
            lives = [record for record in self.of("life") if record["trial"] == number]
            from_step = step_of(run)
            kill = plan(reference, self.seed, number, len(lives), self.lives, from_step, begun=run.exists())
            arguments = ["train", "--resume", str(run)] if run.exists() else self._begin(run)
            log, cache = folder / f"life-{len(lives):02}.log", folder / "cache"
            life = live(arguments, kill, log, end=end, cache=cache, fork=self.fork)
            place = {"kind": "life", "trial": number, "life": len(lives), "from": from_step, "to": step_of(run)}
            self.add({**place, "kill": kill, **life._asdict(), "seconds": round(life.seconds, 2)})
            if not life.killed:
                break
        lost = "" if life.code == 0 else f"exit code {life.code}"
        differing = [] if lost else differences(run, self.work / "reference" / "run")
        self.add({"kind": "trial", "trial": number, "lost": lost, "differences": differing})
        if not (lost or differing):
            shutil.rmtree(folder)
        self._say(number, lost, differing)

    def _folder(self, number: int) -> Path:
        return self.work / f"trial-{number:04}"

    def _begin(self, run: Path) -> list[str]:
        own = [] if "--checkpoint-every" in self.options else ["--checkpoint-every", str(CHECKPOINT_EVERY)]
        return ["train", *self.options, *own, "--out", str(run)]

    def _say(self, number: int, lost: str, differing: list[str]) -> None:
        lives = [record for record in self.of("life") if record["trial"] == number]
        kinds = ", ".join(record["kill"][0] for record in lives if record["killed"]) or "no kill"
        result = "LOST: " + lost if lost else "DIFFERENT: " + ", ".join(differing) if differing else "the same bytes"
        seconds = sum(record["seconds"] for record in lives)
        print(f"trial {number}, {seconds:.0f} s, {self.kills} kills so far: {result} ({kinds})", flush=True)

    def summary(self) -> str:
        """Kills by kind, finished runs, differences, lost runs."""
        killed = [record for record in self.of("life") if record["killed"]]
        kinds, phases = (Counter(map(of, killed)) for of in (lambda life: life["kill"][0], lambda life: life["phase"]))
        trials = self.of("trial")
        lines = [f"{len(killed)} kills: " + ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))]
        lines.append("while busy with: " + ", ".join(f"{phases[phase]} {phase}" for phase in sorted(phases)))
        gains = [life["to"] > life["from"] for life in killed]
        lines.append(f"lives that were killed and left a later checkpoint than they began with: {sum(gains)}")
        lost = [record for record in trials if record["lost"]]
        differing = [record for record in trials if record["differences"]]
        lines.append(f"{len(trials) - len(lost)} finished runs, {len(differing)} differences, {len(lost)} lost runs")
        for record in self.failures:
            what = record["lost"] or ", ".join(record["differences"])
            lines.append(f"  {self._folder(record['trial'])}: {what}")
        return "\n".join(lines)


def build() -> str:
    """A hash of the lmkit and the torch that are tested: another build may give other bits."""
    import lmkit

    digest = hashlib.sha256(metadata.version("torch").encode())
    package = Path(lmkit.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    own, options = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], usage="%(prog)s --kills N [options] [-- TRAIN OPTIONS]"
    )
    parser.add_argument("--kills", type=int, default=10, help="how many there are to be, those of earlier calls too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs", "soak"))
    parser.add_argument("--lives", type=int, default=8, help="of one trial: all but the last end by a kill")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fork", action="store_true", help="import torch once, not in each life; for --threads 1")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    settings = parser.parse_args(own)
    if settings.worker:
        command, kill = json.loads(settings.worker)
        train(command, None if kill is None else Kill(*kill))
        return 0
    if settings.fork:
        import_all()
    threads = [] if settings.threads is None else ["--threads", str(settings.threads)]
    soak = Soak(settings.work, [*threads, *options], settings.seed, settings.lives, fork=settings.fork)
    soak.run(settings.kills)
    print(soak.summary(), flush=True)
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
