"""Tables of many trainings that get the same seconds each: measured once in steps, then bounded by steps.

    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR --speed          # on a quiet machine
    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR                  # beside other work, resumable
    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR --table

cells: every cell at equal parameters on tiny Shakespeare, 60 s for each of three learning rates, then 180 s with the
best. awd: the regularisers of AWD-LSTM taken away one by one on WikiText-2, 300 s each. FOLDER holds
``tinyshakespeare/input.txt`` and ``wikitext-2/{train,valid,test}.txt``. Figures are the best checkpoint's by ``lmkit
eval``: one unbroken stream, float32, no adapters. The precision is float32 on every machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.config import CELLS, Config
from lmkit.hardware import describe_cpu
from lmkit.model.shapes import shape_model

RATES = (1e-3, 3e-3, 1e-2)
SPEED_STEPS = (10, 50)  # steps of two short trainings: the difference of their seconds is that of the steps between


@dataclass(frozen=True)
class Arm:
    """One training: its name, the arm whose speed it has, its seconds, and its options."""

    name: str
    speed_of: str
    seconds: float
    options: dict[str, Any] = field(hash=False)


Results = dict[str, dict[str, Any]]


def num_parameters(options: dict[str, Any], vocab_size: int) -> int:
    return sum(one.numel() for one in shape_model(Config().override(options).model, vocab_size).parameters())


def sized(options: dict[str, Any], parameters: int, vocab_size: int) -> dict[str, Any]:
    """The options with the hidden size, a multiple of 8, whose number of parameters is nearest."""
    sizes = [{**options, "hidden_size": size} for size in range(64, 1025, 8)]
    return min(sizes, key=lambda values: abs(num_parameters(values, vocab_size) - parameters))


CELL_OPTIONS: dict[str, dict[str, Any]] = {
    **{cell: {"cell": cell} for cell in CELLS},
    **{f"{cell}, residual": {"cell": cell, "block": "residual"} for cell in ("lstm", "mingru", "rglru", "mlstm")},
}
SHAKESPEARE = {"num_layers": 2, "window": 128, "batch_size": 32, "dropout": 0.1, "eval_every": 100}
CHARACTERS = 67  # tiny Shakespeare's training split, with the special tokens


def cells(results: Results) -> Iterator[Arm]:
    target = num_parameters({**SHAKESPEARE, "cell": "lstm", "hidden_size": 256}, CHARACTERS)
    for name, own in CELL_OPTIONS.items():
        options = sized({**SHAKESPEARE, **own}, target, CHARACTERS)
        rates = {rate: f"{name}, lr {rate:g}" for rate in RATES}
        for rate, arm in rates.items():
            yield Arm(arm, name, 60, {**options, "lr": rate})
        found = {rate: results[arm]["valid"] for rate, arm in rates.items() if arm in results}
        if len(found) == len(RATES):
            best = min(found, key=lambda rate: found[rate])
            yield Arm(f"{name}, best", name, 180, {**options, "lr": best})


AWD: dict[str, Any] = {
    "tokenizer": "word",
    "num_layers": 2,
    "hidden_size": 400,
    "embedding_size": 400,
    "tie_embeddings": True,
    "head": "adaptive",
    "window": 70,
    "window_jitter": 5,
    "batch_size": 32,
    "locked_dropout": True,
    "dropout": 0.3,
    "embedding_type_dropout": 0.1,
    "weight_drop": 0.3,
    "ar_alpha": 2.0,
    "tar_beta": 1.0,
    "average": "ema",
    "eval_every": 200,
}
AWD_WITHOUT: dict[str, dict[str, Any]] = {
    "all parts": {},
    "no weight drop": {"weight_drop": 0.0},
    "no AR and TAR": {"ar_alpha": 0.0, "tar_beta": 0.0},
    "no average": {"average": "none"},
    "no variable windows": {"window_jitter": 0},
    "no embedding dropout": {"embedding_type_dropout": 0.0},
    "no tying": {"tie_embeddings": False},
}


def awd(results: Results) -> Iterator[Arm]:
    for name, change in AWD_WITHOUT.items():
        yield Arm(name, name, 300, {**AWD, **change})


STUDIES = {"cells": (cells, "tinyshakespeare/input.txt"), "awd": (awd, "wikitext-2")}


def lmkit(*arguments: object) -> dict[str, Any]:
    """One command of lmkit with ``--json``, what it says beside it left on the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "lmkit", *map(str, arguments), "--json"], stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(done.stdout))


class Study:
    """A study in a folder: ``speeds.json``, ``results.json``, and a run for each arm."""

    def __init__(self, name: str, data: Path, out: Path, threads: int) -> None:
        self.arms, corpus = STUDIES[name]
        self.corpus, self.out, self.threads = data / corpus, out, threads
        self.speeds: dict[str, float] = self._read("speeds.json")
        self.results: Results = self._read("results.json")
        out.mkdir(parents=True, exist_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.out / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _write(self, name: str, values: dict[str, Any]) -> None:
        part = self.out / f"{name}.part"
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        part.replace(self.out / name)

    def measure_speeds(self) -> None:
        """Steps a second of each arm, without validation and set-up: nothing is measured at the end."""
        text = self.corpus / "train.txt" if self.corpus.is_dir() else self.corpus
        for arm in self.arms(self.results):
            if arm.speed_of in self.speeds:
                continue
            seconds = []
            for steps in SPEED_STEPS:
                folder = self.out / "speed" / f"{arm.speed_of}-{steps}"
                only = {"valid_fraction": 0.0, "test_fraction": 0.0, "eval_every": 10**6, "max_steps": steps}
                seconds.append(lmkit("train", text, "--out", folder, *self._flags({**arm.options, **only}))["seconds"])
            self.speeds[arm.speed_of] = (SPEED_STEPS[1] - SPEED_STEPS[0]) / (seconds[1] - seconds[0])
            self._write("speeds.json", self.speeds)
            print(f"{arm.speed_of}: {self.speeds[arm.speed_of]:.2f} steps/s", flush=True)

    def run(self) -> None:
        """Train what has not been trained, one arm after the other."""
        while arm := next((arm for arm in self.arms(self.results) if arm.name not in self.results), None):
            folder = self.out / "runs" / arm.name.replace(", ", "-").replace(" ", "-")
            if folder.exists():
                trained = lmkit("train", "--resume", folder)
            else:
                steps = round(self.speeds[arm.speed_of] * arm.seconds)
                trained = lmkit(
                    "train", self.corpus, "--out", folder, *self._flags({**arm.options, "max_steps": steps})
                )
            measured = {split: lmkit("eval", folder, "--split", split) for split in ("valid", "test")}
            nats = {split: value["nll_nats"] / value["tokens"] for split, value in measured.items()}
            parameters = lmkit("info", folder)["run"]["parameters"]
            self.results[arm.name] = {**nats, "steps": trained["steps"], "parameters": parameters}
            self._write("results.json", self.results)
            print(f"{arm.name}: {nats}", flush=True)

    def table(self) -> None:
        """What there is, as Markdown."""
        print("| arm | parameters | steps | steps/s | valid, nats | test, nats |\n|---|---|---|---|---|---|")
        for arm in self.arms(self.results):
            found, speed = self.results.get(arm.name), self.speeds.get(arm.speed_of)
            tail = f"{found['valid']:.4f} | {found['test']:.4f}" if found else "not run | not run"
            head = f"{found['parameters']:,} | {found['steps']:,}" if found else " | "
            print(f"| {arm.name} | {head} | {f'{speed:.2f}' if speed else ''} | {tail} |")
        print(f"\n{describe_cpu()}, {self.threads} threads; Python {platform.python_version()}")

    def _flags(self, options: dict[str, Any]) -> list[str]:
        """Options as a configuration file, which takes them by their names."""
        path = self.out / "options.toml"
        values = {**options, "threads": self.threads, "precision": "float32", "device": "cpu"}
        sections = Config().override(values).to_dict()
        lines = []
        for section, content in sections.items():
            lines += [f"[{section}]", *(f"{name} = {toml(content[name])}" for name in content if name in values)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ["--config", str(path)]


def toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed", action="store_true", help="measure the speed of each arm; nothing else may run")
    parser.add_argument("--table", action="store_true", help="print what there is")
    arguments = parser.parse_args()
    study = Study(arguments.study, arguments.data, arguments.out, arguments.threads)
    if arguments.table:
        study.table()
    elif arguments.speed:
        study.measure_speeds()
    else:
        study.run()


if __name__ == "__main__":
    main()
