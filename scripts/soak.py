"""Kills trainings, resumes them, and compares what they leave with a run that was never interrupted.

    .venv/bin/python scripts/soak.py --kills 100 --threads 1 --work runs/soak [-- --cell gru --epochs 3]

A trial is one training in several lives. All but the last are ended by SIGKILL: at a random instant of what is left to
do (set-up, training, validation, closing measurement), or at a point where a crash would hurt most. The next life
resumes; where the kill came before there was a run, it starts again. The last life is left to finish, and its files
must have the bytes of the reference run's. Options after -- are those of `lmkit train`; without any, its defaults are
trained. --checkpoint-every, which changes no result, is added: without it few lives would get beyond the last one.

With --processes N torchrun starts N processes and one of them is killed: the others, and torchrun, must end within 60
seconds. With --fork there is no torchrun, and the others must notice by themselves.

Every life and every trial is a line in WORK/soak.jsonl. The same call goes on where the last one was ended, with more
--kills too. A trial that fails keeps its folder, with the logs of its lives. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Collection
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
HANGING = -1000  # no exit code
ENDING = 60.0  # seconds that the others have to notice the end of a process, and to end
KILLED = "soak: killed at: "


class Kill(NamedTuple):
    """How a life ends. wait: seconds from its beginning, for CLOSING from the last checkpoint of the run; a point
    counts only after them. nth: which time of the point it is. rank: which of several processes it comes to.
    """

    point: str
    wait: float = 0.0
    nth: int = 1
    rank: int = 0


class Life(NamedTuple):
    """How a life ended. code: what the process returned, of several the one that was killed or the first that failed.
    killed: whether it was this kill that ended it. phase: what it was busy with at the end.
    """

    code: int
    killed: bool
    phase: str
    seconds: float


# ---- in the process that trains


def train(arguments: list[str], kill: Kill | None) -> None:
    """``lmkit ARGUMENTS`` in this process, which ends itself at the point of the kill, and with the soak's own end."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    faulthandler.register(signal.SIGUSR1, file=2)
    from lmkit.cli import main

    if kill is not None and kill.point not in (RANDOM, CLOSING) and kill.rank == int(os.environ.get("RANK", "0")):
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
    processes: int = 1,
) -> Life:
    """Start ``lmkit ARGUMENTS`` and wait until it ends, or is killed.

    end: the checkpoint that a finished training leaves. cache: where texts are kept as tokens, if not in the user's own
    cache. fork: not a fresh interpreter but a child that has imported what this process has; with one thread only.
    processes: that train together.
    """
    started = time.monotonic()
    log.write_bytes(b"")  # for a kill that comes before the child has opened it
    ours, theirs = os.pipe()
    pids = _start_all(arguments, kill, log, (ours, theirs), cache, fork, processes)
    os.close(ours)
    ended_at: float | None = None
    last: float | None = None  # when all must have ended
    struck = False
    codes: dict[int, int] = {}
    try:
        while len(codes) < len(pids) and (last is None or time.monotonic() < last):
            now = time.monotonic()
            if ended_at is None and end is not None and end.is_dir():
                ended_at = now
            if (
                not struck
                and kill is not None
                and (
                    (kill.point == RANDOM and now - started >= kill.wait)
                    or (kill.point == CLOSING and ended_at is not None and now - ended_at >= kill.wait)
                )
            ):
                struck = _strike(pids, codes, kill.rank, processes)
            for pid in set(pids) - codes.keys():
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if last is None and (struck or any(codes.values())):
                last = now + ENDING
            time.sleep(POLL)
    finally:
        hanging = set(pids) - codes.keys()
        for pid in hanging if kill is not None and last is not None else ():
            os.kill(pid, signal.SIGUSR1)  # where it hangs
            time.sleep(1.0)
        for pid in hanging:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(theirs)
    said = log.read_text(encoding="utf-8", errors="replace")
    at_point = kill is not None and f"{KILLED}{kill.point}\n" in said
    died = at_point or struck
    code = -signal.SIGKILL if died and processes > 1 else next((code for code in codes.values() if code), 0)
    killed = code == -signal.SIGKILL and died and not hanging
    phase = "training" if said.startswith("run ") or "\nrun " in said else "set-up"
    if phase == "training" and end is not None and end.is_dir():
        phase = "closing"
    if hanging:
        code = HANGING
    return Life(code, killed, phase, time.monotonic() - started)


def _strike(pids: list[int], ended: Collection[int], rank: int, processes: int) -> bool:
    """Kill the process of a rank, here or below torchrun; return whether it was there."""
    if len(pids) == processes:
        candidates = [pid for pid in pids[rank : rank + 1] if pid not in ended]
    else:
        candidates = [pid for pid in _children(pids[0]) if f"RANK={rank}".encode() in _environment(pid)]
    for pid in candidates:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        lists = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(word) for one in lists for word in one.read_text().split()]
    return []


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def import_all() -> None:
    """What a training imports: once here, and not in each child."""
    import torch._dynamo  # noqa: F401  slow, and torch does it behind the scenes

    import lmkit.classify.training.kind
    import lmkit.cli.train
    import lmkit.console.training
    import lmkit.session.session  # noqa: F401


def _start_all(
    arguments: list[str],
    kill: Kill | None,
    log: Path,
    pipe: tuple[int, int],
    cache: Path | None,
    fork: bool,
    processes: int,
) -> list[int]:
    """The processes to wait for: those that train, by rank, or the torchrun that has started them."""
    if processes == 1 or not fork:
        return [_start(arguments, kill, log, pipe, cache, fork, processes)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_start(arguments, kill, log, pipe, cache, fork, processes, (rank, port)) for rank in range(processes)]


def _start(
    arguments: list[str],
    kill: Kill | None,
    log: Path,
    pipe: tuple[int, int],
    cache: Path | None,
    fork: bool,
    processes: int = 1,
    place: tuple[int, int] | None = None,
) -> int:
    """place: the rank of this one of several processes, and the port where they meet."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()  # a Ctrl-C is for the soak: the training goes with it
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(pipe[0], 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(pipe[1])
        if cache is not None:
            os.environ["LMKIT_CACHE"] = str(cache)
        if place is not None:
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR")
            values = (place[0], place[0], processes, processes, place[1], "127.0.0.1")
            os.environ.update(zip(names, map(str, values), strict=True))
        if not fork:
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            start = [sys.executable, *(torchrun if processes > 1 else []), __file__]
            os.execv(sys.executable, [*start, "--worker", json.dumps([arguments, kill])])
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


def plan(
    reference: Reference,
    seed: int,
    trial: int,
    life: int,
    lives: int,
    step: int,
    *,
    begun: bool,
    processes: int = 1,
) -> Kill | None:
    """How this life is to end; None for the last one. Together the random instants of a trial are uniform over all
    that there is to do: each is the least of as many draws as there are kills to come. The named points are the first
    process's, which writes.
    """
    to_come = lives - 1 - life
    if to_come <= 0:
        return None
    draw = random.Random(f"{seed} {trial} {life}")
    share = 1.0 - (1.0 - draw.random()) ** (1.0 / to_come)
    kind, point, first = draw.random(), draw.choice(POINTS), draw.choice(FIRST_POINTS)
    left = 1.0 - step / reference.step
    wait = share * (reference.setup + left * reference.training + reference.closing)
    rank = draw.randrange(processes) if processes > 1 else 0
    if step == 0 and kind < 0.3:
        return Kill(FIRST_POINTS[-1] if begun else first)
    if left <= 0.0:  # only set-up and closing are left, and almost no point of the named ones
        return Kill(RANDOM, wait, rank=rank)
    if to_come <= 2 and kind < 0.6:
        return Kill(CLOSING, draw.random() * reference.closing)
    return Kill(RANDOM, wait, rank=rank) if kind < 0.5 else Kill(point, wait)


class Soak:
    """The work folder of one call, its records, and what is still to be done."""

    def __init__(
        self, work: Path, options: list[str], seed: int, lives: int, *, fork: bool = False, processes: int = 1
    ) -> None:
        self.work, self.options, self.seed, self.lives = work, options, seed, lives
        self.how: dict[str, Any] = {"fork": fork, "processes": processes}
        self.path = work / "soak.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        self.records = self._read()
        stamp = {"kind": "soak", "options": options, "seed": seed, "lives": lives, "build": build()}
        stamp |= {"processes": processes} if processes > 1 else {}
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
            life = live(self._begin(folder / "run"), None, folder / "log", cache=folder / "cache", **self.how)
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
            where: dict[str, Any] = {"begun": run.exists(), "processes": self.how["processes"]}
            kill = plan(reference, self.seed, number, len(lives), self.lives, from_step, **where)
            arguments = ["train", "--resume", str(run)] if run.exists() else self._begin(run)
            log, cache = folder / f"life-{len(lives):02}.log", folder / "cache"
            life = live(arguments, kill, log, end=end, cache=cache, **self.how)
            place = {"kind": "life", "trial": number, "life": len(lives), "from": from_step, "to": step_of(run)}
            self.add({**place, "kill": kill, **life._asdict(), "seconds": round(life.seconds, 2)})
            if not life.killed:
                break
        lost = "" if life.code == 0 else f"exit code {life.code}"
        lost = f"a process was still there after {ENDING:g} seconds" if life.code == HANGING else lost
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
    parser.add_argument("--processes", type=int, default=1, help="that train together; one of them is killed")
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
    how: dict[str, Any] = {"fork": settings.fork, "processes": settings.processes}
    soak = Soak(settings.work, [*threads, *options], settings.seed, settings.lives, **how)
    soak.run(settings.kills)
    print(soak.summary(), flush=True)
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
