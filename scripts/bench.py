"""lmkit's speed against the same work done plainly: training, evaluation, generation, cells, checkpoints, text.

    .venv/bin/python scripts/bench.py --list
    .venv/bin/python scripts/bench.py train generate/V100-1 --threads 1 --rounds 7 --json result.json
    .venv/bin/python scripts/bench.py text --clock cpu --table docs/benchmarks.md

Each side of a case is a process that stays alive. They work in turn, for a second or two at a time, the order changing
from round to round; a ratio is that of one round, so what slows the machine for a minute slows both sides. Beside cases
of matrix products stands what large products reach in the same rounds. Where the middle half of the ratios spreads over
more than 15 % of their median nothing is reported of the case, and the exit code is 1. Plain sides are frozen: do not
change them, or figures of different days cannot be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks import gemm
from benchmarks.case import Case, Settings
from benchmarks.registry import all_cases, find
from benchmarks.rounds import MOST_SPREAD, Result, alternate
from benchmarks.table import updated
from benchmarks.workers import CLOCKS, Worker, serve

SCRIPT = Path(__file__).resolve()


def measure(case: Case, settings: Settings, *, rounds: int, seconds: float, clock: str) -> Result:
    """All rounds of a case."""
    with contextlib.ExitStack() as stack:

        def worker(name: str, side: str) -> Worker:
            return stack.enter_context(Worker(SCRIPT, name, side, settings, clock))

        plain, own = worker(case.name, "plain"), worker(case.name, "own")
        limit = worker(gemm.CASE.name, "own") if case.operations is not None else None
        result = Result(case.name, case.unit, case.against, operations=case.operations)
        runs = [partial(one.run, seconds) for one in (plain, own)]
        return alternate(result, *runs, limit and partial(limit.run, seconds / 4), rounds)


def machine(settings: Settings) -> dict[str, object]:
    """What the figures were taken on."""
    from importlib import metadata

    from lmkit.hardware import describe_cpu

    git = ["git", "-C", str(SCRIPT.parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    versions = {"torch": metadata.version("torch"), "python": platform.python_version()}
    return {
        "cpu": describe_cpu(),
        "threads": settings.threads,
        **versions,
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
    }


def taken(on: dict[str, object], clock: str) -> str:
    """The same in a few words."""
    threads = f"{on['threads']} thread{'s' if on['threads'] != 1 else ''}"
    timed = ", processor time" if clock == "cpu" else ""
    return f"{on['cpu']}, {threads}{timed}, torch {on['torch']}, commit {on['commit']}, {on['date']}"


def report(results: list[Result], on: dict[str, object], arguments: argparse.Namespace) -> int:
    """Write what is to be written; 1 where a case was refused."""
    good = [result for result in results if result.refusal(arguments.most_spread) is None]
    if arguments.json is not None:
        records = [result.record(arguments.most_spread) for result in results]
        text = json.dumps({"machine": on, "clock": arguments.clock, "results": records}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.table is not None and good:
        document = arguments.table.read_text(encoding="utf-8")
        arguments.table.write_text(updated(document, good, taken(on, arguments.clock)), encoding="utf-8")
    return int(len(good) < len(results))


def show(result: Result, most: float) -> None:
    """One line for a case."""
    if refusal := result.refusal(most):
        print(refusal, flush=True)
        return
    low, high = result.middle
    share = "" if result.share_of_limit is None else f", {result.share_of_limit:.0%} of the limit of matrix products"
    print(f"{result.case:28} {result.ratio:6.2f} times {result.against} ({low:.2f} to {high:.2f}){share}", flush=True)


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        serve(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="a name, or the first part of several; default: all")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--rounds", type=int, default=7, help="at least 2")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a slice")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: processor time, on a busy machine")
    parser.add_argument("--corpus", help="a text for the cases text and checkpoint (default: one that is built in)")
    parser.add_argument("--most-spread", type=float, default=MOST_SPREAD, help="above this a case is refused")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--table", type=Path, help="put rows into the table of this document")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(all_cases()))
        return 0
    if arguments.rounds < 2:
        parser.error("--rounds must be at least 2: one ratio has no spread.")
    settings = Settings(arguments.threads, arguments.tiny, arguments.corpus)
    results, on, status = [], machine(settings), 0
    for case in find(arguments.cases):
        rounds, seconds, clock = arguments.rounds, arguments.seconds, arguments.clock
        results.append(measure(case, settings, rounds=rounds, seconds=seconds, clock=clock))
        show(results[-1], arguments.most_spread)
        status = report(results, on, arguments)  # after each case: what is measured is not lost
    return status


if __name__ == "__main__":
    sys.exit(main())
