"""What an encoder, a pooling and a cell are worth for a classifier, on 100, 1,000 and all texts of a training file.

    .venv/bin/python scripts/classify_study.py --data FOLDER --text FILE --out DIR --recipe RECIPE.toml

FOLDER holds ``train.csv``, ``valid.csv`` and ``test.csv`` with the columns text and label. A language model of each
cell is trained on FILE, a running text in words, and goes on with the texts of ``train.csv``, without their labels
(ULMFiT, Howard & Ruder 2018); its encoder is taken. Smaller training files are the first texts of one random order, the
same for all arms. Trainings are bounded by steps. What was interrupted is resumed, what ``results.json`` has is not
trained again; the folder of a classifier is removed once it is measured, but that of the first seed on all texts.
Differences are paired: the same test texts, and intervals over texts and over seeds as ``lmkit classify compare`` gives
them. The table is printed; what was not run says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import shutil
import statistics
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lmkit
from lmkit.classify.measures.comparison import GroupDifference, compare_classifiers
from lmkit.classify.measures.measurement import right_on
from lmkit.classify.testing import read_test, report_on
from lmkit.classify.trained import TrainedClassifier
from lmkit.config import ClassifierConfig, flatten
from lmkit.evaluation.comparison.interval import Interval
from lmkit.hardware import describe_cpu, keep_freed_memory, wait_politely

SIZES = {"all": 1.0, "1000": 0.4, "100": 0.15}  # of training texts, and what the steps are multiplied by
LANGUAGE_MODEL: dict[str, Any] = {
    **{"tokenizer": "word", "vocab_size": 20000, "min_count": 2, "num_layers": 1, "hidden_size": 256},
    **{"head": "adaptive", "batch_size": 32, "window": 64, "valid_fraction": 0.02, "test_fraction": 0.0},
}
ITS_TUNING = {"min_count": 2, "lr": 1e-3, "valid_fraction": 0.05, "test_fraction": 0.0, "extend_vocab": "words"}
NEW = {"num_layers": 1, "hidden_size": 256}


class Arm(NamedTuple):
    """A recipe. cell: of the network; taken: whether its encoder is that of a language model."""

    name: str
    cell: str
    taken: bool
    options: dict[str, str]


ARMS = (
    Arm("LSTM, new, concat", "lstm", False, {"pooling": "concat"}),
    Arm("LSTM, new, last", "lstm", False, {"pooling": "last"}),
    Arm("RNN, new, concat", "rnn", False, {"pooling": "concat"}),
    Arm("RNN, new, last", "rnn", False, {"pooling": "last"}),
    Arm("LSTM, encoder, concat", "lstm", True, {"pooling": "concat"}),
    Arm("LSTM, encoder, last", "lstm", True, {"pooling": "last"}),
    Arm("LSTM, encoder, concat, gradual", "lstm", True, {"pooling": "concat", "tune": "gradual"}),
    Arm("LSTM, encoder, concat, probe", "lstm", True, {"pooling": "concat", "tune": "probe"}),
    Arm("RNN, encoder, concat", "rnn", True, {"pooling": "concat"}),
    Arm("RNN, encoder, last", "rnn", True, {"pooling": "last"}),
)
# What is asked, an arm, and the one that it is compared with.
PAIRS = (
    ("encoder - new, LSTM", 4, 0),
    ("encoder - new, RNN", 8, 2),
    ("concat - last, LSTM, new", 0, 1),
    ("concat - last, LSTM, encoder", 4, 5),
    ("concat - last, RNN, new", 2, 3),
    ("LSTM - RNN, new, concat", 0, 2),
    ("LSTM - RNN, new, last", 1, 3),
    ("LSTM - RNN, encoder, concat", 4, 8),
    ("gradual - full", 6, 4),
    ("probe - full", 7, 4),
)


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
        self.given, self.path = given, given.out / "results.json"
        self.texts, self.runs = given.out / "texts", given.out / "runs"
        self.texts.mkdir(parents=True, exist_ok=True)
        self.machine = {"device": "cpu", "precision": "float32", "threads": given.threads}
        recipe = (
            {} if given.recipe is None else flatten(tomllib.loads(given.recipe.read_text("utf-8")), ClassifierConfig)
        )
        found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.results: dict[str, Any] = {"runs": {}, **found}
        bounds = {
            name: getattr(given, name) for name in ("steps", "validations", "encoder_steps", "tuning_steps", "threads")
        }
        bounds = json.loads(json.dumps({**bounds, "recipe": recipe}))
        if self.results.setdefault("bounds", bounds) != bounds:
            raise SystemExit(f"{self.path} has trainings of other bounds: {self.results['bounds']}. Use another --out.")
        self.recipe = recipe
        self.results["machine"] = f"{describe_cpu()}; Python {platform.python_version()}"

    def prepare(self) -> None:
        """The training files of each size, and the texts of the language models' tuning."""
        rows = rows_of(self.given.data / "train.csv")
        order = random.Random(0).sample(rows, len(rows))
        for size in SIZES:
            path = self.texts / f"{size}.csv"
            if not path.exists():
                write_rows(path, rows if size == "all" else order[: int(size)])
        (self.texts / "unlabelled.txt").write_text("".join(f"{row['text']}\n" for row in rows), encoding="utf-8")

    def encoder(self, cell: str) -> Path:
        """The language model of a cell: trained on the running text, then on the texts of the training file."""
        steps, tuning_steps = self.given.encoder_steps, self.given.tuning_steps
        first = (self.given.language_models or self.runs) / f"lm-{cell}"
        run = self.runs / f"tuned-{cell}"
        if not run.with_suffix(".done").exists():
            options = {**LANGUAGE_MODEL, "cell": cell, "max_steps": steps, "eval_every": max(1, steps // 5)}
            self._language_model(first, self.given.text, options)
            options = {**ITS_TUNING, "init_from": first, "max_steps": tuning_steps}
            self._language_model(run, self.texts / "unlabelled.txt", {**options, "eval_every": tuning_steps // 3 or 1})
        return run

    def run_arm(self, size: str, number: int, seed: int) -> None:
        """Train one classifier and measure it on the test texts."""
        arm, name = ARMS[number], f"{size}-{number}-{seed}"
        if name in self.results["runs"]:
            return
        steps, run = max(1, round(self.given.steps * SIZES[size])), self.runs / name
        own = {"encoder": self.encoder(arm.cell)} if arm.taken else {**NEW, "cell": arm.cell}
        bounds = {"max_steps": steps, "eval_every": max(1, steps // self.given.validations), "seed": seed}
        if arm.options.get("tune") == "gradual":
            bounds["unfreeze_every"] = max(1, steps // 4)  # so that all parts are trained in so few epochs
        started = time.monotonic()
        if run.exists():
            trained = lmkit.resume(run, quiet=True)
        else:
            options = {**self.recipe, **own, **arm.options, **bounds, **self.machine}
            files = {"data": self.texts / f"{size}.csv", "valid": str(self.given.data / "valid.csv")}
            trained = lmkit.train_classifier(**files, out=run, quiet=True, **options)
        seconds = time.monotonic() - started
        assert isinstance(trained, TrainedClassifier), "a run of a classifier"
        facts = {"arm": number, "name": arm.name, "size": size, "seed": seed, "seconds": seconds, "steps": steps}
        self.results["runs"][name] = {**facts, **self._measured(trained)}
        self._write()
        if (size, seed) != ("all", 1):
            shutil.rmtree(run)
        print(
            f"{name:12} {arm.name:32} {seconds:6.1f} s  {100 * self.results['runs'][name]['accuracy']:.2f}", flush=True
        )

    def _measured(self, trained: TrainedClassifier) -> dict[str, Any]:
        """What a classifier reached on the validation and the test texts, and which of those it is right on."""
        assert trained.run is not None, "it was trained"
        log = (trained.run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        final = json.loads(log[-1])
        test = read_test(trained, self.given.data / "test.csv")
        report = report_on(trained, test)
        assert report.unseen is not None and report.baseline is not None, "the training texts are there"
        right = right_on(test, trained.classify(test.texts))
        return {
            "valid_accuracy": final["accuracy"],
            "best_step": final["step"],
            "accuracy": report.measured.accuracy.value,
            "accuracy_unseen": report.unseen.value,
            "nats_per_text": report.measured.nats_per_text,
            "calibration_error": report.measured.calibration.error,
            "naive_bayes": report.baseline.measured.accuracy.value,
            "naive_bayes_valid": final["naive_bayes_accuracy"],
            "right": "".join(map(str, right.astype(int).tolist())),
        }

    def _language_model(self, run: Path, text: Path, options: dict[str, Any]) -> None:
        if run.with_suffix(".done").exists():
            return
        started = time.monotonic()
        if run.exists():
            lmkit.resume(run, quiet=True)
        else:
            lmkit.train(text, out=run, quiet=True, **options, **self.machine)
        run.with_suffix(".done").touch()
        print(f"{run.name:12} {time.monotonic() - started:6.1f} s", flush=True)

    def table(self) -> Iterator[str]:
        """Accuracies and differences, with what was not run."""
        sizes = [size for size in ("100", "1000", "all") if size in SIZES]
        heads = " | ".join(f"{size} texts" for size in sizes)
        yield f"| test accuracy, median of seeds (lowest to highest) | {heads} |"
        yield "| --- |" + " ---: |" * len(sizes)
        for number, arm in enumerate(ARMS):
            yield f"| {arm.name} | {' | '.join(self._accuracy(size, number) for size in sizes)} |"
        counted = [next((one["naive_bayes"] for one in self._of(size)), None) for size in sizes]
        yield f"| naive Bayes | {' | '.join('not run' if one is None else f'{100 * one:.2f}' for one in counted)} |"
        yield ""
        yield f"| difference, over texts; over seeds | {heads} |"
        yield "| --- |" + " ---: |" * len(sizes)
        for question, first, second in PAIRS:
            yield f"| {question} | {' | '.join(self._difference(size, first, second) for size in sizes)} |"
        yield ""
        for name, key in (
            ("validation", "valid_accuracy"),
            ("without test texts that training had", "accuracy_unseen"),
        ):
            found = (self._accuracy("all", number, key) for number in range(len(ARMS)))
            yield f"{name}, all texts: {'; '.join(found)}"
        yield f"{self.results['machine']}; {self.results['bounds']}"

    def _of(self, size: str, arm: int | None = None) -> list[dict[str, Any]]:
        """The measured runs of a size, of all arms or of one."""
        return [one for one in self.results["runs"].values() if one["size"] == size and arm in (None, one["arm"])]

    def _accuracy(self, size: str, arm: int, key: str = "accuracy") -> str:
        found = [100 * one[key] for one in self._of(size, arm)]
        if not found:
            return "not run"
        many = f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else " (one seed)"
        return f"{statistics.median(found):.2f}{many}"

    def _difference(self, size: str, first: int, second: int) -> str:
        seeds = [{one["seed"] for one in self._of(size, arm)} for arm in (first, second)]
        if not (both := seeds[0] & seeds[1]):
            return "not run"
        one = self._compared(size, second, first, both)
        over_seeds = "" if one.over_seeds is None else f"; {_points(one.over_seeds)}"
        return f"{round(100 * one.over_texts.value, 2) + 0.0:+.2f} {_points(one.over_texts)}{over_seeds}"

    def _compared(self, size: str, baseline: int, other: int, seeds: set[int]) -> GroupDifference:
        groups = {ARMS[arm].name: self._right(size, arm, seeds) for arm in (baseline, other)}
        return compare_classifiers("test.csv", groups).differences[0]

    def _right(self, size: str, arm: int, seeds: set[int]) -> NDArray[np.bool_]:
        runs = [one["right"] for one in self._of(size, arm) if one["seed"] in seeds]
        return np.array([[mark == "1" for mark in one] for one in runs])

    def _write(self) -> None:
        self.path.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")


def _points(interval: Interval) -> str:
    return (
        ""
        if interval.low is None or interval.high is None
        else f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv, valid.csv and test.csv")
    parser.add_argument("--text", type=Path, required=True, help="running text for the language models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, help="TOML file with options of all classifiers")
    parser.add_argument("--language-models", type=Path, help="folder of those of the running text (default: DIR/runs)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1600, help="of a classifier on all texts")
    parser.add_argument("--validations", type=int, default=6, help="of a classifier")
    parser.add_argument("--encoder-steps", type=int, default=2000, help="of a language model on the running text")
    parser.add_argument("--tuning-steps", type=int, default=300, help="of a language model on the training texts")
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
    print("\n".join(study.table()))


if __name__ == "__main__":
    keep_freed_memory()
    wait_politely()
    main()
