"""What tests of runs share: the options of a training that takes a second, a text for it, and what two runs have in
common if they are the same.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmkit.config import TrainingConfig
from lmkit.evaluation.perplexity import Evaluation
from lmkit.training import loop
from lmkit.training.loop import EvaluationRecord
from lmkit.training.state import TrainState

# Quick whatever the machine is: one thread, and no precision that depends on the processor.
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "batch_size": 4,
    "window": 16,
    "threads": 1,
    "precision": "float32",
    "device": "cpu",
}

ANIMALS = {"cat": ["cat", "purrs", "mouse"], "dog": ["dog", "barks", "bone"], "hen": ["hen", "clucks", "egg"]}


def make_text(seed: int = 3) -> str:
    """Some 1,300 characters in lines: an epoch of SMALL has 17 windows."""
    draw = random.Random(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "to", "tree"]
    return "".join(" ".join(draw.choice(words) for _ in range(draw.randint(2, 7))) + ".\n" for _ in range(70))


def labelled_csv(texts: int = 60, seed: int = 3) -> str:
    """Texts of some words that are about a cat, a dog or a hen; two of them are longer than a window."""
    draw, rows = random.Random(seed), ["text,label"]
    for number in range(texts):
        label = draw.choice(sorted(ANIMALS))
        length = 40 if number % 30 == 7 else draw.randint(2, 9)
        words = draw.choices(["the", "a", "on", "and", *ANIMALS[label]], k=length)
        rows.append(f"{' '.join([*words, ANIMALS[label][0]])},{label}")
    return "\n".join(rows) + "\n"


def write_text(folder: Path) -> Path:
    """The text in a file of this folder."""
    path = folder / "text.txt"
    path.write_text(make_text(), encoding="utf-8", newline="")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contents(run: Path) -> dict[str, bytes]:
    """All that is a function of the run: the last checkpoint without its clocks, the best model, the metrics, the
    reports.
    """
    last = max((run / "checkpoints").glob("step-*"))
    kept = [path for path in last.iterdir() if path.name not in ("clock.json", "manifest.json")]
    kept += [run / "model.safetensors", run / "metrics.jsonl", run / "tokenizer.json"]
    kept += (run / "reports").glob("*.json")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in kept if path.exists()}


def assert_same(run: Path, other: Path) -> None:
    """What is a function of the run is the same in both, byte for byte."""
    one, two = contents(run), contents(other)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


@contextmanager
def validations_on_a_curve() -> Iterator[None]:
    """Validations are made, and then get worse and better again at steps that are known, so that plateau schedule,
    patience and best model have something to do however these trainings go.
    """
    validate = loop._validation

    def curve(step: int) -> float:
        worse = any(first <= step < last for first, last in ((16, 20), (30, 36), (46, 100)))
        return 2.6 + step / 1000 if worse else 2.5 - step / 1000  # better than guessing, or a warning would come

    def on_the_curve(
        train: TrainState, config: TrainingConfig, validation: Callable[[], Evaluation]
    ) -> EvaluationRecord:
        found = validation()
        return validate(train, config, lambda: dataclasses.replace(found, nll=found.tokens * curve(train.step)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_validation", on_the_curve)
        yield
