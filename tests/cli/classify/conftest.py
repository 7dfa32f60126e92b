"""Labelled texts to classify, and a classifier of them that was trained for a moment."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lmkit.cli import main

WORDS = {"music": ["play", "song", "album", "band"], "weather": ["rain", "sun", "warm", "cold"]}
COMMON = ["the", "a", "for", "me", "now", "please"]


def make_rows(number: int, seed: int) -> list[list[str]]:
    """Sentences of two classes, with a number that is carried along."""
    draw = random.Random(seed)
    rows = []
    for index in range(number):
        label = draw.choice(sorted(WORDS))
        words = [draw.choice(WORDS[label] if draw.random() < 0.4 else COMMON) for _ in range(draw.randint(3, 7))]
        rows.append([str(index), " ".join(words), label])
    return rows


def write_rows(path: Path, rows: list[list[str]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label"], *rows])
    return path


@pytest.fixture(scope="session")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, test.csv and two runs of seeds 1 and 2, a-1 and a-2, and b-1 of another cell."""
    folder = tmp_path_factory.mktemp("classified")
    train = make_rows(120, seed=1)
    write_rows(folder / "train.csv", train)
    write_rows(folder / "test.csv", [*make_rows(40, seed=2), *train[:3]])
    options = ["--valid-fraction", "0.2", "--batch-size", "16", "--hidden-size", "8", "--max-steps", "12"]
    for name, cell, seed in (("a-1", "gru", "1"), ("a-2", "gru", "2"), ("b-1", "rnn", "1")):
        own = ["--cell", cell, "--seed", seed, "--threads", "1", "--precision", "float32", "--out", str(folder / name)]
        arguments = ["classify", "train", "--data", str(folder / "train.csv"), *options, *own]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    torch.set_num_threads(1)
    return folder
