"""What a model of Shakespeare is worth for The Time Machine: fine-tuned on 20, 60 and 160 KB of it, or trained anew.

    .venv/bin/python scripts/finetune_curve.py --data FOLDER --out DIR

FOLDER holds ``tinyshakespeare/input.txt`` and ``timemachine/timemachine.txt``. All trainings are bounded by steps, and
DIR keeps them: what was interrupted is resumed, what is there is not trained again. The training text is the beginning
of the novel, validation and test text are its end, the same for all sizes. A figure is the test loss of the best model
on validation, read as one stream in float32. The largest text gets more steps, because it was measured to be learnt too
little in those of the smaller ones. DIR gets ``results.json`` and ``curve.svg``, and the table is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.hardware import describe_cpu

KILOBYTES = {20: 1.0, 60: 1.0, 160: 2.5}  # of training text, and what the steps are multiplied by
SMALLEST, LARGEST = min(KILOBYTES), max(KILOBYTES)
SHAPE = ("--cell", "lstm", "--layers", "1", "--hidden-size", "256")
MACHINE = ("--device", "cpu", "--precision", "float32")
SOURCE = (*SHAPE, "--batch-size", "32", "--window", "64", "--eval-every", "250")
SMALL = ("--batch-size", "16", "--window", "64", "--eval-every", "40", "--patience", "5")
FROM_SOURCE = ("--extend-vocab", "characters")


class Arm(NamedTuple):
    """A way to get a model of the novel: ``tuned`` from that of Shakespeare, or not."""

    name: str
    colour: str
    tuned: bool
    options: tuple[str, ...]


ARMS = (
    Arm("from scratch", "#b04030", False, (*SHAPE, "--lr", "3e-3")),
    Arm("fine-tuned", "#2060b0", True, ("--lr", "3e-3")),
    Arm(
        "fine-tuned, unfrozen from the top",
        "#208050",
        True,
        ("--lr", "3e-3", "--lr-decay-per-layer", "2.6", "--unfreeze-every", "40"),
    ),
    Arm("fine-tuned, the LSTM frozen", "#906010", True, ("--lr", "3e-3", "--freeze", "layers.0")),
)
Results = dict[str, Any]


def lmkit(*arguments: object) -> dict[str, Any]:
    """One command of lmkit with ``--json``; what it says beside it is kept from the terminal unless it fails."""
    command = [sys.executable, "-m", "lmkit", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return dict(json.loads(done.stdout))


def make_texts(novel: str, out: Path) -> None:
    """A folder of splits for each size: the novel's beginning, and two halves of what is behind the largest one."""
    rest = novel[1000 * LARGEST :]
    for size in KILOBYTES:
        folder = out / "texts" / f"{size}kb"
        folder.mkdir(parents=True, exist_ok=True)
        splits = {"train": novel[: 1000 * size], "valid": rest[: len(rest) // 2], "test": rest[len(rest) // 2 :]}
        for name, text in splits.items():
            path = folder / f"{name}.txt"
            if not path.exists():  # whose time the cache looks at
                path.write_text(text, encoding="utf-8")


class Curve:
    """The trainings in a folder, and ``results.json`` with what they reached."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.given, self.out = arguments, Path(arguments.out)
        self.path = self.out / "results.json"
        self.out.mkdir(parents=True, exist_ok=True)
        make_texts((arguments.data / "timemachine" / "timemachine.txt").read_text(encoding="utf-8"), self.out)
        found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.results: Results = {"machine": {}, "source": {}, "runs": {}, **found}
        self.results["machine"] = {"cpu": describe_cpu(), "python": platform.python_version(), **self._bounds()}

    def _bounds(self) -> dict[str, int]:
        return {name: getattr(self.given, name) for name in ("source_steps", "steps", "scratch_steps", "threads")}

    def train(self, name: str, corpus: Path, *options: object) -> dict[str, Any]:
        """Train a run of this name, or go on with it; what ``lmkit train --json`` says of it."""
        folder = self.out / "runs" / name
        if folder.exists():
            return lmkit("train", "--resume", folder)
        return lmkit("train", corpus, "--out", folder, "--threads", self.given.threads, *MACHINE, *options)

    def run(self) -> None:
        """Train what is not there yet; after each training the results are written."""
        source = self.out / "runs" / "source"
        if not self.results["source"]:
            shakespeare = self.given.data / "tinyshakespeare" / "input.txt"
            trained = self.train("source", shakespeare, *SOURCE, "--max-steps", self.given.source_steps)
            novel = lmkit("eval", source, "--file", self.out / "texts" / f"{SMALLEST}kb" / "test.txt")
            self.results["source"] = {
                "own_test": nats(trained["result"]),
                "test": nats(novel),
                "oov": novel["oov_tokens"],
            }
            self._write()
        for seed in range(1, self.given.seeds + 1):
            for size in KILOBYTES:
                for arm in ARMS:
                    self._run_arm(size, arm, seed, source)

    def _run_arm(self, size: int, arm: Arm, seed: int, source: Path) -> None:
        name = f"{size}kb-{arm.name.replace(',', '').replace(' ', '-')}-{seed}"
        if name in self.results["runs"]:
            return
        steps = round(KILOBYTES[size] * (self.given.steps if arm.tuned else self.given.scratch_steps))
        start = ("--init-from", source, *FROM_SOURCE) if arm.tuned else ()
        options = (*SMALL, *arm.options, *start, "--max-steps", steps, "--seed", seed)
        trained = self.train(name, self.out / "texts" / f"{size}kb", *options)
        result = trained["result"]
        self.results["runs"][name] = {
            "kilobytes": size,
            "arm": arm.name,
            "seed": seed,
            "steps": trained["steps"],
            "best_step": trained["best_step"],
            "seconds": trained["seconds"],
            "valid": trained["valid_nats_per_token"],
            "test": nats(result),
            "oov": result["oov_tokens"],
        }
        self._write()
        print(f"{name}: {nats(result):.4f} nats/char, best at step {trained['best_step']}", flush=True)

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.results, indent=2) + "\n", encoding="utf-8")
        part.replace(self.path)

    def tests(self, arm: Arm, size: int) -> list[float]:
        """The test losses of an arm at a size, one for each seed that was trained."""
        runs = self.results["runs"].values()
        return [one["test"] for one in runs if (one["arm"], one["kilobytes"]) == (arm.name, size)]

    def table(self) -> Iterator[str]:
        """What there is, as Markdown: medians over seeds, and the range."""
        yield f"| test nats/char after training on | {' | '.join(f'{size} KB' for size in KILOBYTES)} |"
        yield "|---" * (1 + len(KILOBYTES)) + "|"
        for arm in ARMS:
            yield f"| {arm.name} | {' | '.join(shown(self.tests(arm, size)) for size in KILOBYTES)} |"
        if self.results["source"]:
            yield f"| the model of Shakespeare as it is | {self.results['source']['test']:.4f} | | |"


def nats(result: dict[str, Any]) -> float:
    """Nats per character of a measurement."""
    return float(result["nll_nats"] / result["chars"])


def shown(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else "not run"
    return f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 30, 24, 56


def picture(curve: Curve) -> str:
    """The table as a curve: medians over the size of the training text, with the range of the seeds."""
    points = {arm: [(size, values) for size in KILOBYTES if (values := curve.tests(arm, size))] for arm in ARMS}
    losses = [loss for line in points.values() for _, values in line for loss in values]
    losses += [curve.results["source"]["test"]] if curve.results["source"] else []
    low, high = math.floor(10 * min(losses)) / 10, math.ceil(10 * max(losses)) / 10

    def x(size: float) -> float:
        share = math.log(size / SMALLEST) / math.log(LARGEST / SMALLEST)
        return LEFT + 20 + share * (WIDTH - LEFT - RIGHT - 40)

    def y(loss: float) -> float:
        return TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM)

    body = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
    for tenth in range(round(10 * low), round(10 * high) + 1):
        level = y(tenth / 10)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" stroke="#e4e4e4"/>')
        if tenth % 2 == 0:
            body.append(text(LEFT - 8, level + 4, f"{tenth / 10:.1f}", anchor="end"))
    for size in KILOBYTES:
        body.append(text(x(size), HEIGHT - BOTTOM + 20, f"{size} KB", anchor="middle"))
    body.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "training text of The Time Machine", anchor="middle"))
    body.append(text(LEFT - 8, TOP - 8, "test nats per character", anchor="start"))
    legend = []
    if curve.results["source"]:
        level = y(curve.results["source"]["test"])
        dashes = 'stroke="#707070" stroke-dasharray="6 4"'
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" {dashes}/>')
        legend.append(("the model of Shakespeare as it is", "#707070"))
    for arm, line in points.items():
        path = " ".join(f"{x(size):.1f},{y(statistics.median(values)):.1f}" for size, values in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{arm.colour}" stroke-width="2"/>')
        for size, values in line:
            ends = f'y1="{y(min(values)):.1f}" y2="{y(max(values)):.1f}"'
            body.append(f'<line x1="{x(size):.1f}" x2="{x(size):.1f}" {ends} stroke="{arm.colour}" stroke-width="2"/>')
            body.append(
                f'<circle cx="{x(size):.1f}" cy="{y(statistics.median(values)):.1f}" r="4" fill="{arm.colour}"/>'
            )
        legend.append((arm.name, arm.colour))
    for row, (name, colour) in enumerate(legend):
        body.append(text(WIDTH - RIGHT - 8, TOP + 40 + 18 * row, name, anchor="end", colour=colour))
    box = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = 'font-family="Helvetica, Arial, sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {style}>\n' + "\n".join(body) + "\n</svg>\n"


def text(x: float, y: float, content: str, *, anchor: str, colour: str = "#303030") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{content}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--source-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=400, help="of each fine-tuning")
    parser.add_argument("--scratch-steps", type=int, default=1200, help="of each training from scratch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="train nothing: the table and the curve of what there is")
    arguments = parser.parse_args()
    curve = Curve(arguments)
    if not arguments.table:
        curve.run()
    (curve.out / "curve.svg").write_text(picture(curve), encoding="utf-8")
    print("\n".join(curve.table()))
    machine = curve.results["machine"]
    print(f"\n{machine['cpu']}, threads: {machine['threads']}; Python {machine['python']}")


if __name__ == "__main__":
    main()
