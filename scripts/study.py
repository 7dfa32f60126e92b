"""Tables of many trainings that get the same seconds each: measured once in steps, then bounded by steps.

    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR --speed          # on a quiet machine
    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR                  # beside other work, resumable
    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR --table
    .venv/bin/python scripts/study.py cells --data FOLDER --out DIR --pictures

cells: every cell at equal parameters on tiny Shakespeare, 60 s for each of three learning rates, then 180 s with the
best; of the five best ones 300 s on the words of WikiText-2, too, at the rate that was best on Shakespeare. awd: the
regularisers of AWD-LSTM taken away one by one on WikiText-2, 300 s each. FOLDER holds ``tinyshakespeare/input.txt`` and
``wikitext-2/{train,valid,test}.txt``. Learning rates are compared by the validations of the trainings; the figures of
the others are the best checkpoint's by ``lmkit eval --rows 16``, whose rows are read on into each other until they
agree with the one unbroken stream: float32, no adapters. The precision is float32 on every machine. ``--speed`` also
takes the tokens/s of one sampled stream, and the peak memory of the short training's process. What an n-gram model of
order 6 (words: 5) reaches on the same tokens stands below the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.api import load
from lmkit.config import CELLS, WITH_MATRICES, Config
from lmkit.hardware import describe_cpu, keep_freed_memory, wait_politely
from lmkit.model.shapes import shape_model
from lmkit.plots import Bar, Bars, Mark
from lmkit.plots.render import render
from lmkit.session.session import Session

RATES = (1e-3, 3e-3, 1e-2)
SPEED_STEPS = (10, 50)  # steps of two short trainings: the difference of their seconds is that of the steps between


@dataclass(frozen=True)
class Arm:
    """One training: its name, the arm whose speed it has, its seconds, its corpus, and its options. tries: it only
    finds a learning rate.
    """

    name: str
    speed_of: str
    seconds: float
    corpus: str
    options: dict[str, Any] = field(hash=False)
    tries: bool = False


Results = dict[str, dict[str, Any]]
SPLITS = ("valid", "test")
RESULT_COLUMNS = (("parameters", ","), ("hidden_size", ""), ("lr", "g"), ("steps", ","))
SPEED_COLUMNS = (("training", ".2f"), ("sampling", ".0f"), ("memory", ",.0f"))
SAMPLED = 500


def num_parameters(options: dict[str, Any], vocab_size: int) -> int:
    return sum(one.numel() for one in shape_model(Config().override(options).model, vocab_size).parameters())


def sized(options: dict[str, Any], parameters: int, vocab_size: int) -> dict[str, Any]:
    """The options with the hidden size, a multiple of 8, whose number of parameters is nearest."""
    sizes = [{**options, "hidden_size": size} for size in range(64, 1025, 8)]
    return min(sizes, key=lambda values: abs(num_parameters(values, vocab_size) - parameters))


CELL_OPTIONS: dict[str, dict[str, Any]] = {
    **{cell: {"cell": cell} for cell in CELLS},
    **{f"{cell}, paper": {"cell": cell, "timescales": "paper"} for cell in ("rglru", "slstm", "mlstm")},
    **{f"{cell}, residual": {"cell": cell, "block": "residual"} for cell in ("lstm", "mingru", "rglru", "mlstm")},
}
SHAKESPEARE = {"num_layers": 2, "window": 128, "batch_size": 32, "dropout": 0.1, "eval_every": 100}
CHARACTERS = 67  # tiny Shakespeare's training split, with the special tokens
WORDS = 33_278  # WikiText-2, with <eos>
CORPORA = {"tinyshakespeare/input.txt": 6, "wikitext-2": 5}  # and the order of the n-gram model beside it
TEXT, WIKITEXT = CORPORA
ON_WORDS: dict[str, Any] = {
    "tokenizer": "word",
    "num_layers": 2,
    "embedding_size": 256,
    "tie_embeddings": True,
    "head": "adaptive",
    "window": 70,
    "batch_size": 32,
    "dropout": 0.3,
    "locked_dropout": True,
    "eval_every": 500,
}
FINALISTS = 5


def cells(results: Results) -> Iterator[Arm]:
    target = num_parameters({**SHAKESPEARE, "cell": "lstm", "hidden_size": 256}, CHARACTERS)
    for name, own in CELL_OPTIONS.items():
        options = sized({**SHAKESPEARE, **own}, target, CHARACTERS)
        rates = {rate: f"{name}, lr {rate:g}" for rate in RATES}
        for rate, arm in rates.items():
            yield Arm(arm, name, 60, TEXT, {**options, "lr": rate}, tries=True)
        found = {rate: results[arm]["valid"] for rate, arm in rates.items() if arm in results}
        if len(found) == len(RATES):
            best = min(found, key=lambda rate: found[rate])
            yield Arm(f"{name}, best", name, 180, TEXT, {**options, "lr": best})
    yield from cells_on_words(results)


def cells_on_words(results: Results) -> Iterator[Arm]:
    """The best cells again, once all have been trained on characters."""
    reached = {name: results[f"{name}, best"]["valid"] for name in CELL_OPTIONS if f"{name}, best" in results}
    if len(reached) < len(CELL_OPTIONS):
        return
    target = num_parameters({**ON_WORDS, "cell": "lstm", "hidden_size": 512}, WORDS)
    for name in sorted(reached, key=lambda name: reached[name])[:FINALISTS]:
        rate = min(RATES, key=lambda rate: results[f"{name}, lr {rate:g}"]["valid"])
        options = sized({**ON_WORDS, **CELL_OPTIONS[name], "lr": rate}, target, WORDS)
        yield Arm(f"{name}, words", f"{name}, words", 300, WIKITEXT, options)


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
        yield Arm(name, name, 300, WIKITEXT, {**AWD, **change})


STUDIES = {"cells": cells, "awd": awd}


def lmkit(*arguments: object) -> tuple[dict[str, Any], float]:
    """What a command of lmkit says with ``--json``, what it tells beside it left on the terminal, and the peak memory
    of its process in MB.
    """
    command = [sys.executable, "-m", "lmkit", *map(str, arguments), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return dict(json.loads(said)), usage.ru_maxrss / 1024


class Study:
    """A study in a folder: ``speeds.json``, ``results.json``, and a run for each arm."""

    def __init__(self, name: str, data: Path, out: Path, threads: int) -> None:
        self.arms = STUDIES[name]
        self.data, self.out, self.threads = data, out, threads
        self.speeds: Results = self._read("speeds.json")
        self.results: Results = self._read("results.json")
        self.ngrams: Results = self._read("ngrams.json")
        out.mkdir(parents=True, exist_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.out / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _write(self, name: str, values: dict[str, Any]) -> None:
        part = self.out / f"{name}.part"
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        part.replace(self.out / name)

    def measure_speeds(self) -> None:
        """Of each arm that lacks any: steps/s without validation and set-up, tokens/s of sampling, peak memory. What is
        known stays, for trainings were bounded by it.
        """
        for arm in self.arms(self.results):
            known = self.speeds.get(arm.speed_of, {})
            if len(known) == len(SPEED_COLUMNS):
                continue
            long = self.out / "speed" / f"{arm.speed_of}-{SPEED_STEPS[1]}"
            trained, memory = self._train_without_measurement(arm, SPEED_STEPS[1], long)
            if "training" not in known:
                short, _ = self._train_without_measurement(
                    arm, SPEED_STEPS[0], long.with_name(f"{arm.speed_of}-{SPEED_STEPS[0]}")
                )
                known["training"] = (SPEED_STEPS[1] - SPEED_STEPS[0]) / (trained["seconds"] - short["seconds"])
            self.speeds[arm.speed_of] = {**known, "sampling": sampling_speed(long), "memory": memory}
            self._write("speeds.json", self.speeds)
            print(f"{arm.speed_of}: {self.speeds[arm.speed_of]}", flush=True)

    def _train_without_measurement(self, arm: Arm, steps: int, run: Path) -> tuple[dict[str, Any], float]:
        corpus = self.data / arm.corpus
        text = corpus / "train.txt" if corpus.is_dir() else corpus
        only = {"valid_fraction": 0.0, "test_fraction": 0.0, "eval_every": 10**6, "max_steps": steps}
        shutil.rmtree(run, ignore_errors=True)
        return lmkit("train", text, "--out", run, *self._flags({**arm.options, **only}))

    def run(self) -> None:
        """Train what has not been trained, one arm after the other."""
        while arm := next((arm for arm in self.arms(self.results) if arm.name not in self.results), None):
            if arm.speed_of not in self.speeds:
                raise SystemExit(f"The speed of {arm.speed_of} is not known yet: run --speed on a quiet machine.")
            folder = self.out / "runs" / arm.name.replace(", ", "-").replace(" ", "-")
            nats, steps = self._try(arm, folder) if arm.tries else ({}, self._train(arm, folder))
            if not arm.tries:
                measured = {split: lmkit("eval", folder, "--split", split, "--rows", 16)[0] for split in SPLITS}
                nats = {split: value["nll_nats"] / value["tokens"] for split, value in measured.items()}
            parameters = lmkit("info", folder)[0]["run"]["parameters"]
            shape = {name: arm.options[name] for name in ("hidden_size", "lr") if name in arm.options}
            self.results[arm.name] = {**nats, "steps": steps, "parameters": parameters, **shape}
            self._write("results.json", self.results)
            print(f"{arm.name}: {nats}", flush=True)
            if not arm.tries and arm.corpus not in self.ngrams:
                self._measure_ngram(arm, folder)

    def _train(self, arm: Arm, folder: Path) -> int:
        """Train and measure; return the steps."""
        given = self._flags(self._bounded(arm))
        begin = ("--resume", folder) if folder.exists() else (self.data / arm.corpus, "--out", folder, *given)
        return int(lmkit("train", *begin)[0]["steps"])

    def _try(self, arm: Arm, folder: Path) -> tuple[dict[str, float], int]:
        """Train without a closing measurement; return the best validation and the steps."""
        config = Config().override({**self._bounded(arm), "corpus": str(self.data / arm.corpus)})
        with Session.resume(folder) if folder.exists() else Session.begin(config, folder) as session:
            for _ in session.records():
                pass
            session.stop()
            return {"valid": session.train.validations.best}, session.train.step

    def _bounded(self, arm: Arm) -> dict[str, Any]:
        steps = round(self.speeds[arm.speed_of]["training"] * arm.seconds)
        return {**arm.options, **self._machine(), "max_steps": steps}

    def _machine(self) -> dict[str, Any]:
        return {"threads": self.threads, "precision": "float32", "device": "cpu"}

    def _measure_ngram(self, arm: Arm, folder: Path) -> None:
        ngram = ("--ngram", CORPORA[arm.corpus])
        found = {split: lmkit("eval", folder, "--split", split, *ngram)[0]["ngram_alone"] for split in SPLITS}
        self.ngrams[arm.corpus] = {split: value["nll_nats"] / value["tokens"] for split, value in found.items()}
        self._write("ngrams.json", self.ngrams)

    def table(self) -> None:
        """What there is, as Markdown."""
        heads = "arm | parameters | units | rate | steps | steps/s | sampling, tokens/s | memory, MB | valid | test"
        print(f"| {heads} |\n|{'---|' * (heads.count('|') + 1)}")
        for arm in self.arms(self.results):
            found, speed = self.results.get(arm.name, {}), self.speeds.get(arm.speed_of, {})
            columns = [shown(found.get(name), form) for name, form in RESULT_COLUMNS]
            columns += [shown(speed.get(name), form) for name, form in SPEED_COLUMNS]
            columns += [shown(found.get(split), ".4f", "" if arm.tries else "not run") for split in SPLITS]
            print(f"| {' | '.join([arm.name, *columns])} |")
        for corpus, nats in self.ngrams.items():
            figures = ", ".join(f"{split} {nats[split]:.4f}" for split in SPLITS)
            print(f"\nn-grams of order {CORPORA[corpus]}, {corpus}: {figures} nats per token")
        print(f"\n{describe_cpu()}, {self.threads} threads; Python {platform.python_version()}")

    def pictures(self) -> Iterator[tuple[str, Bars]]:
        """What the arms of each corpus reached, the best first, beside its n-gram model; by the corpus's name."""
        for corpus, order in CORPORA.items():
            reached = [arm for arm in self.arms(self.results) if arm.name in self.results and not arm.tries]
            arms = [arm for arm in reached if arm.corpus == corpus]
            bars = [Bar(arm.name.split(", best")[0], self.results[arm.name]["test"], group=kind(arm)) for arm in arms]
            marks = [Mark(f"n-grams of order {order}", self.ngrams[corpus]["test"])] if corpus in self.ngrams else []
            if bars:
                title = f"After {max(arm.seconds for arm in arms):.0f} s of training"
                label = f"test loss on {corpus.split('/')[0]}, nats per token"
                yield corpus.split("/")[0], Bars(title, label, sorted(bars, key=lambda bar: bar.value), marks)

    def _flags(self, options: dict[str, Any]) -> list[str]:
        """Options as a configuration file, which takes them by their names."""
        path = self.out / "options.toml"
        values = {**options, **self._machine()}
        sections = Config().override(values).to_dict()
        lines = []
        for section, content in sections.items():
            lines += [f"[{section}]", *(f"{name} = {toml(content[name])}" for name in content if name in values)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ["--config", str(path)]


def shown(value: Any, form: str, absent: str = "") -> str:
    return absent if value is None else format(value, form)


def kind(arm: Arm) -> str:
    """What a network's cells do from step to step."""
    cell = arm.options.get("cell", "lstm")
    if cell == "transformer":
        return "attention"
    return "a matrix from step to step" if cell in WITH_MATRICES else "parallel in time"


def sampling_speed(run: Path) -> float:
    """Tokens of one sampled stream a second, the second text of the process."""
    lm = load(run)
    lm.sample(length=50)
    begun = time.perf_counter()
    lm.sample(length=SAMPLED, seed=1)
    return SAMPLED / (time.perf_counter() - begun)


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
    parser.add_argument("--pictures", action="store_true", help="draw what there is, one SVG a corpus, into DIR")
    arguments = parser.parse_args()
    study = Study(arguments.study, arguments.data, arguments.out, arguments.threads)
    if arguments.table:
        study.table()
    elif arguments.pictures:
        for name, bars in study.pictures():
            (study.out / f"{name}.svg").write_bytes(render(bars))
    elif arguments.speed:
        study.measure_speeds()
    else:
        study.run()


if __name__ == "__main__":
    keep_freed_memory()
    wait_politely()
    main()
