"""What an encoder, a pooling and a cell are worth for a classifier, on 100, 1,000 and all texts of a training file.

    .venv/bin/python scripts/classify_study.py --data FOLDER --text FILE --out DIR

FOLDER holds ``train.csv``, ``valid.csv`` and ``test.csv`` with the columns text and label. FILE is a running text in
words; with the texts of ``train.csv`` behind it it trains the language models whose encoders are taken, and nothing
else does. Smaller training files are the first texts of one random order, the same for all arms. Trainings are bounded
by steps, and DIR keeps them: what was interrupted is resumed, what is there is not trained again. Differences are
paired: the same test texts, and intervals over texts and over seeds by ``lmkit classify compare``. DIR gets
``results.json``, and the table is printed; rows that were not run say so.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.hardware import describe_cpu

MACHINE = ("--device", "cpu", "--precision", "float32")
SIZES = {"100": 0.1, "1000": 0.4, "all": 1.0}  # of training texts, and what the steps are multiplied by
LANGUAGE_MODEL = (
    *("--tokenizer", "word", "--vocab-size", "20000", "--min-count", "2", "--layers", "1", "--hidden-size", "256"),
    *("--head", "adaptive", "--batch-size", "32", "--window", "64", "--valid-fraction", "0.02", "--test-fraction", "0"),
)
NEW = ("--layers", "1", "--hidden-size", "256")


class Arm(NamedTuple):
    """A recipe. encoder: the cell of the language model whose encoder is taken, None for a new one."""

    name: str
    encoder: str | None
    options: tuple[str, ...]


ARMS = (
    Arm("LSTM, new, concat", None, (*NEW, "--cell", "lstm", "--pooling", "concat")),
    Arm("LSTM, new, last", None, (*NEW, "--cell", "lstm", "--pooling", "last")),
    Arm("RNN, new, concat", None, (*NEW, "--cell", "rnn", "--pooling", "concat")),
    Arm("RNN, new, last", None, (*NEW, "--cell", "rnn", "--pooling", "last")),
    Arm("LSTM, encoder, concat", "lstm", ("--pooling", "concat")),
    Arm("LSTM, encoder, last", "lstm", ("--pooling", "last")),
    Arm("LSTM, encoder, concat, gradual", "lstm", ("--pooling", "concat", "--tune", "gradual")),
    Arm("LSTM, encoder, concat, probe", "lstm", ("--pooling", "concat", "--tune", "probe")),
    Arm("RNN, encoder, concat", "rnn", ("--pooling", "concat")),
)
# Which arm is compared with which: what is asked, the first, and what is different in the second.
PAIRS = (
    ("encoder, LSTM", 0, 4),
    ("encoder, RNN", 2, 8),
    ("pooled against last, new", 1, 0),
    ("pooled against last, encoder", 5, 4),
    ("LSTM against RNN, concat", 2, 0),
    ("LSTM against RNN, last", 3, 1),
    ("gradual against full", 4, 6),
    ("probe against full", 4, 7),
)


def lmkit(*arguments: object) -> dict[str, Any]:
    """One command of lmkit with ``--json``; what it says beside it is kept from the terminal unless it fails."""
    command = [sys.executable, "-m", "lmkit", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return dict(json.loads(done.stdout))


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["text", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


class Study:
    """The trainings in a folder, and ``results.json`` with what they reached."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.out, self.path = given, given.out, given.out / "results.json"
        self.texts, self.runs = self.out / "texts", self.out / "runs"
        self.texts.mkdir(parents=True, exist_ok=True)
        found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.results: dict[str, Any] = {"runs": {}, "differences": {}, **found}
        bounds = {name: getattr(given, name) for name in ("steps", "encoder_steps", "threads")}
        if self.results.setdefault("bounds", bounds) != bounds:
            raise SystemExit(f"{self.path} has trainings of other bounds: {self.results['bounds']}. Use another --out.")
        self.results["machine"] = f"{describe_cpu()}; Python {platform.python_version()}"

    def prepare(self) -> None:
        """The training files of each size, and the text of the language models."""
        rows = rows_of(self.given.data / "train.csv")
        order = random.Random(0).sample(rows, len(rows))
        for size in SIZES:
            path = self.texts / f"{size}.csv"
            if not path.exists():
                write_rows(path, rows if size == "all" else order[: int(size)])
        running = self.texts / "running.txt"
        if not running.exists():
            texts = "".join(f"{row['text']}\n" for row in rows)
            running.write_text(self.given.text.read_text(encoding="utf-8") + texts, encoding="utf-8")

    def encoder(self, cell: str) -> Path:
        """The language model of a cell, trained to its end."""
        run = self.runs / f"lm-{cell}"
        bounds = ("--max-steps", self.given.encoder_steps, "--eval-every", max(1, self.given.encoder_steps // 8))
        self._trained("train", run, self.texts / "running.txt", "--cell", cell, *LANGUAGE_MODEL, *bounds)
        return run

    def run_arm(self, size: str, number: int, seed: int) -> None:
        """Train one classifier and measure it on the test texts."""
        arm, name = ARMS[number], f"{size}-{number}-{seed}"
        if name in self.results["runs"]:
            return
        steps = max(1, round(self.given.steps * SIZES[size]))
        source = () if arm.encoder is None else ("--encoder", self.encoder(arm.encoder))
        files = ("--data", self.texts / f"{size}.csv", "--valid", self.given.data / "valid.csv")
        bounds = ("--max-steps", steps, "--eval-every", max(1, steps // 10), "--seed", seed)
        run = self.runs / name
        trained = self._trained("classify train", run, *files, *source, *arm.options, *bounds)
        found = lmkit("classify", "eval", run, "--data", self.given.data / "test.csv")
        self.results["runs"][name] = {
            "arm": arm.name,
            "size": size,
            "seed": seed,
            "seconds": trained["seconds"],
            **{key: found[key] for key in ("accuracy", "nats_per_text", "accuracy_unseen")},
            "naive_bayes": found["naive_bayes"]["accuracy"] if found["naive_bayes"] else None,
        }
        self._write()

    def compare(self, size: str, question: str, first: int, second: int) -> None:
        """The difference of two arms over all seeds that both have."""
        groups = [
            [self.runs / f"{size}-{arm}-{seed}" for seed in self._seeds(size, first, second)] for arm in (first, second)
        ]
        name = f"{size}: {question}"
        known = self.results["differences"].get(name)
        if not groups[0] or (known is not None and known["seeds"] == len(groups[0])):
            return
        data = ("--data", self.given.data / "test.csv")
        found = lmkit("classify", "compare", *groups[1], *data, "--against", *groups[0])
        difference = found["differences"][0]
        self.results["differences"][name] = {"seeds": len(groups[0]), **difference}
        self._write()

    def table(self) -> None:
        """Accuracies and differences, with what was not run."""
        print(f"{'':32}" + "".join(f"{size + ' texts':>22}" for size in SIZES))
        for number, arm in enumerate(ARMS):
            print(f"{arm.name:32}" + "".join(f"{self._accuracy(size, number):>22}" for size in SIZES))
        counted = [next((one["naive_bayes"] for one in self._of(size)), None) for size in SIZES]
        shown = ("not run" if one is None else f"{100 * one:.2f}" for one in counted)
        print(f"{'naive Bayes':32}" + "".join(f"{one:>22}" for one in shown))
        print(f"\n{'difference, interval over texts':32}")
        for question, _, _ in PAIRS:
            print(f"{question:32}" + "".join(f"{self._difference(size, question):>22}" for size in SIZES))
        print(f"\n{self.results['machine']}; bounds {self.results['bounds']}")

    def _seeds(self, size: str, *arms: int) -> list[int]:
        known = self.results["runs"]
        return [seed for seed in range(1, 100) if all(f"{size}-{arm}-{seed}" in known for arm in arms)]

    def _of(self, size: str) -> list[dict[str, Any]]:
        return [one for one in self.results["runs"].values() if one["size"] == size]

    def _accuracy(self, size: str, number: int) -> str:
        found = [100 * one["accuracy"] for one in self._of(size) if one["arm"] == ARMS[number].name]
        if not found:
            return "not run"
        return f"{statistics.median(found):.2f} ({min(found):.1f}-{max(found):.1f})"

    def _difference(self, size: str, question: str) -> str:
        found = self.results["differences"].get(f"{size}: {question}")
        if found is None:
            return "not run"
        value, low, high = (100 * found["over_texts"][name] for name in ("value", "low", "high"))
        return f"{value:+.2f} [{low:+.1f}, {high:+.1f}]"

    def _trained(self, command: str, run: Path, *options: object) -> dict[str, Any]:
        """Train a run to its end, or go on with it; what ``--json`` says of it."""
        if run.exists():
            return lmkit(*command.split(), "--resume", run)
        return lmkit(*command.split(), *options, "--out", run, "--threads", self.given.threads, *MACHINE)

    def _write(self) -> None:
        self.path.write_text(json.dumps(self.results, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv, valid.csv and test.csv")
    parser.add_argument("--text", type=Path, required=True, help="running text for the language models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000, help="of a classifier on all texts")
    parser.add_argument("--encoder-steps", type=int, default=6000, help="of a language model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--arms", nargs="*", type=int, default=list(range(len(ARMS))), help="numbers of arms")
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    given = parser.parse_args()
    study = Study(given)
    if not given.table:
        study.prepare()
        for seed in range(1, given.seeds + 1):
            for size in given.sizes:
                for number in given.arms:
                    study.run_arm(size, number, seed)
        for size in given.sizes:
            for question, first, second in PAIRS:
                study.compare(size, question, first, second)
    study.table()


if __name__ == "__main__":
    main()
