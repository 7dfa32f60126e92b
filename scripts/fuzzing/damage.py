"""Damaged runs and files, and what a command may make of them."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fuzzing import mutations
from fuzzing.material import CLASSIFIERS, RUNS

__all__ = ["DamagedRun", "damage_run"]

SMALL = ("--threads", "1", "--max-seconds", "2", "--batch-size", "4")
LARGEST = 1 << 24  # bytes; a file without content may be larger
Change = Callable[[random.Random, bytes], bytes]
STRUCTURE: dict[str, Change] = {
    "config.json": mutations.damage_json,
    "tokenizer.json": mutations.damage_json,
    "run.json": mutations.damage_json,
    "model.safetensors": mutations.damage_tensors,
    "metrics.jsonl": mutations.damage_lines,
    "timings.jsonl": mutations.damage_lines,
}
CHECKPOINTS = ("checkpoints/step-00000003", "checkpoints/step-00000006")
SEALED: dict[str, Change] = {
    "manifest.json": mutations.damage_json,
    "training.json": mutations.damage_json,
    "clock.json": mutations.damage_json,
    "training.safetensors": mutations.damage_tensors,
    "model.safetensors": mutations.damage_tensors,
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "eval": ("eval", "RUN", "--json", "--threads", "1"),
    "eval file": ("eval", "RUN", "--file", "other.txt", "--json", "--threads", "1"),
    "score": ("score", "RUN", "other.txt", "--per", "word", "--threads", "1"),
    "score line": ("score", "RUN", "nbest.txt", "--state", "line", "--per", "line", "--threads", "1"),
    "sample": ("sample", "RUN", "--length", "20", "--prompt", "The "),
    "info": ("info", "RUN"),
    "info json": ("info", "RUN", "--json"),
    "doctor": ("doctor", "RUN", "--threads", "1"),
    "compare": (
        "compare",
        "run",
        "RUN",
        "--file",
        "other.txt",
        "--threads",
        "1",
        "--resamples",
        "100",
        "--allow-lossy",
    ),
    "dynamic": ("eval", "RUN", "--dynamic", "--cache", "20", "--ngram", "2", "--threads", "1"),
    "tokenize": ("tokenize", "other.txt", "--tokenizer", "RUN", "--limit", "5"),
    "arpa": ("eval", "run", "--arpa", "char.arpa", "--threads", "1"),
    "config": (
        "train",
        "--config",
        "config.toml",
        "--corpus",
        "text.txt",
        "--out",
        "out",
        "--threads",
        "1",
        "--max-seconds",
        "2",
        "--batch-size",
        "4",
        "--epochs",
        "1",
    ),
    "nbest": ("score", "RUN", "--nbest", "nbest.txt", "--threads", "1"),
    "gz": ("eval", "RUN", "--file", "text.txt.gz", "--threads", "1"),
    "corpus": ("doctor", "--corpus", "text.txt", "--threads", "1"),
    "resume": ("train", "--resume", "RUN"),
    "extend": ("train", "--resume", "RUN", "--max-steps", "8"),
    "last": ("eval", "RUN", "--checkpoint", "last", "--json", "--threads", "1"),
    "labels eval": ("classify", "eval", "CLASSIFIER", "--data", "more.csv", "--json", "--threads", "1"),
    "labels predict": ("classify", "predict", "CLASSIFIER", "labels.tsv", "--per", "word", "--threads", "1"),
    "labels doctor": ("doctor", "CLASSIFIER", "--threads", "1"),
    "labels resume": ("classify", "train", "--resume", "CLASSIFIER"),
    "labels last": ("classify", "eval", "CLASSIFIER", "--data", "more.csv", "--checkpoint", "last", "--threads", "1"),
    "table": ("classify", "eval", "labels", "--data", "labels.csv", "--json", "--threads", "1"),
    "json table": ("classify", "predict", "labels", "labels.jsonl", "--columns", "all", "--threads", "1"),
}
WEIGHTS = (14, 3, 3, 2, 12, 7, 3, 16, 4, 3, 4, 10, 7, 2, 3, 2, 14, 4, 4, 6, 4, 6, 8, 2, 5, 3)
OF_CHECKPOINTS = ("resume", "extend", "last", "doctor", "labels doctor", "labels resume", "labels last")  # read them
OWN_FILE: dict[str, tuple[str, Change]] = {
    "arpa": ("char.arpa", mutations.damage_arpa),
    "config": ("config.toml", mutations.damage_toml),
    "nbest": ("nbest.txt", mutations.damage_lines),
    "gz": ("text.txt.gz", mutations.damage_bytes),
    "corpus": ("text.txt", mutations.damage_bytes),
    "table": ("labels.csv", mutations.damage_lines),
    "json table": ("labels.jsonl", mutations.damage_lines),
}


class DamagedRun(NamedTuple):
    """What to run, which command that is, which run or file was damaged, and how."""

    arguments: list[str]
    command: str
    run: str
    changes: list[str]


def damage_run(draw: random.Random, work: Path) -> DamagedRun:
    """Damage something in a copy of the material; the same for the same state of ``draw``."""
    command = draw.choices(list(COMMANDS), WEIGHTS)[0]
    run = draw.choice(list(CLASSIFIERS if "CLASSIFIER" in COMMANDS[command] else RUNS))
    arguments = [run if word in ("RUN", "CLASSIFIER") else word for word in COMMANDS[command]]
    changes = []
    if command in OWN_FILE:
        name, structure = OWN_FILE[command]
        for _ in range(draw.choice((1, 1, 2))):
            changes.append(_damage_file(draw, work / name, structure))
        return DamagedRun(arguments, command, "", changes)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if command in OF_CHECKPOINTS and draw.random() < 0.6:
            place, name = draw.choice(CHECKPOINTS), draw.choice(list(SEALED))
            changes.append(f"{place}/{_damage_file(draw, work / run / place / name, SEALED[name])}")
            continue
        name = draw.choice(list(STRUCTURE))
        changes.append(_damage_file(draw, work / run / name, STRUCTURE[name]))
    return DamagedRun(arguments, command, run, changes)


def _damage_file(draw: random.Random, path: Path, structure: Change) -> str:
    if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST:
        return f"{path.name}: nothing left to damage"
    action = draw.choices(("structure", "bytes", "gone", "swapped", "special"), (60, 25, 4, 6, 5))[0]
    content = path.read_bytes()
    if action == "structure":
        try:
            changed = structure(draw, content)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, struct.error):
            changed = mutations.damage_bytes(draw, content)  # damaged before, and no such structure any more
        path.write_bytes(changed)
    elif action == "bytes":
        path.write_bytes(mutations.damage_bytes(draw, content))
    elif action == "gone":
        path.unlink()
    elif action == "swapped":
        others = [path.parent / name for name in STRUCTURE] + [
            path.parent.parent / run / path.name for run in (*RUNS, *CLASSIFIERS)
        ]
        other = draw.choice([other for other in others if other.is_file() and other.stat().st_size < LARGEST] or [path])
        shutil.copyfile(other, path.with_name("swapped"))
        os.replace(path.with_name("swapped"), path)
        action += f" with {other.parent.name}/{other.name}"
    else:
        path.unlink()
        action = _make_special(draw, path)
    return f"{path.name}: {action}"


def _make_special(draw: random.Random, path: Path) -> str:
    kind = draw.choice(("pipe", "folder", "loop", "device", "endless device", "socket", "link", "sparse"))
    if kind == "sparse" and path.suffix == ".txt":
        kind = "pipe"  # to read a text of 64 GiB takes its time, and may
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "endless device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(path.parent.parent / "text.txt")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 36)
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            before = os.getcwd()
            os.chdir(path.parent)  # the name of a socket must be short
            try:
                listener.bind(path.name)
            finally:
                os.chdir(before)
    return kind
