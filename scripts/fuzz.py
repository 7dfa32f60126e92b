"""A fuzzer of lmkit: command lines, damaged runs and files, texts and configurations.

    .venv/bin/python scripts/fuzz.py --commands 2000 --damage 5000 --texts 13000 --seed 1
    .venv/bin/python scripts/fuzz.py --seed 1 --only damage:123

Every case is a function of the seed and its number, so each finding comes with the command that replays it. Commands
run in forked children with limits on time, memory and disk. A finding is: an exit code other than 0, 1, 2, 130 and 143;
1 without a FailedError; a traceback; a hang; output before a refusal; a file or folder that a refused command left
behind or a reading command changed; a run folder that is not whole; a doctor who calls damaged weights sound. Exits
with 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

KINDS = ("commands", "damage", "texts")
MODULES = (
    "torch",
    "lmkit.session.session",
    "lmkit.api",
    "lmkit.doctor.run.run",
    "lmkit.doctor.corpus.corpus",
    "tokenizers",
)
COMMANDS = (
    *("train", "eval", "score", "compare", "sample", "tokenize", "corpora", "info", "doctor"),
    *("classify.train", "classify.eval", "classify.predict", "classify.compare"),
)


class Finding(NamedTuple):
    """A case that went wrong: which, what is wrong, and what it was."""

    case: str
    fault: str
    details: str


def prepare() -> None:
    """Load once what every child needs; no network, one thread, no threads that a fork would lose."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in (*MODULES, *(f"lmkit.cli.{command}" for command in COMMANDS)):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()  # imports what takes a second


def cases(counts: dict[str, int], only: str | None) -> Iterator[str]:
    """The kinds in turn, so that a run that is cut short has seen some of each."""
    if only is not None:
        yield only
        return
    done = dict.fromkeys(counts, 0)
    while any(done[kind] < counts[kind] for kind in counts):
        kind = min((kind for kind in counts if done[kind] < counts[kind]), key=lambda kind: done[kind] / counts[kind])
        yield f"{kind}:{done[kind]}"
        done[kind] += 1


def run(
    counts: dict[str, int], *, seed: int, jobs: int = 1, only: str | None = None, minutes: float | None = None
) -> Iterator[tuple[str, str, list[Finding]]]:
    """Run the cases; yields the name of each, what became of it, and what was found."""
    prepare()
    from fuzzing.judge import Judge

    end = time.monotonic() + 60 * minutes if minutes else math.inf
    folder = tempfile.mkdtemp(prefix="lmkit-fuzz-")  # no TemporaryDirectory: a child that ends would remove it
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        judge = Judge(Path(folder), seed, needs_runs=any(not name.startswith("texts") for name in cases(counts, only)))
        results = map(judge.case, cases(counts, only))
        if jobs > 1:
            pool = stack.enter_context(multiprocessing.get_context("fork").Pool(jobs))
            results = pool.imap(judge.case, cases(counts, only))
        for name, outcome, faults in results:
            yield name, outcome, [Finding(name, *fault) for fault in faults]
            if time.monotonic() > end:
                return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N", help=f"cases of {kind}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="children at a time")
    parser.add_argument("--minutes", type=float, help="stop after this long")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="replay one case")
    parser.add_argument("--report", type=Path, help="also write the findings to this file")
    arguments = parser.parse_args()
    counts = {kind: getattr(arguments, kind) for kind in KINDS}
    outcomes: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in KINDS}
    findings = []
    replay = f"{sys.executable} scripts/fuzz.py --seed {arguments.seed} --only"
    start = time.monotonic()
    found = run(counts, seed=arguments.seed, jobs=arguments.jobs, only=arguments.only, minutes=arguments.minutes)
    for number, (name, outcome, faults) in enumerate(found, 1):
        outcomes[name.partition(":")[0]][outcome] += 1
        for finding in faults:
            findings.append(finding)
            shown = f"{finding.case}  {finding.fault}\n    {replay} {finding.case}\n{finding.details}\n"
            print(shown, flush=True)
            if arguments.report:
                with arguments.report.open("a", encoding="utf-8") as file:
                    file.write(shown + "\n")
        if number % 500 == 0:
            print(f"{number:,} cases, {len(findings)} findings, {time.monotonic() - start:.0f} s", flush=True)
    for kind, counter in outcomes.items():
        if counter:
            total = sum(counter.values())
            print(f"{kind}: {total:,} cases; " + ", ".join(f"{name} {n:,}" for name, n in counter.most_common()))
    print(f"{len(findings)} findings in {time.monotonic() - start:.0f} s")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
