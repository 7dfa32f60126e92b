"""Fingerprints of small trainings: what a change of structure must leave as it is.

    .venv/bin/python scripts/same_numbers.py --json before.json      # before the change
    .venv/bin/python scripts/same_numbers.py --against before.json   # after it

LSTM and GRU with each sampler, plain, with dropout, with a tied adaptive softmax and in bfloat16, 200 steps each on one
thread; each training is stopped half-way and resumed, too. A fingerprint is the sha256 of every stored tensor by its
name and of metrics.jsonl; clipped steps, which earlier versions do not count, are one by themselves. They hold for one
machine and one version of torch.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

CLIPPED, COUNTED = rb', "clipped": [0-9]+', "metrics.jsonl, clipped steps"  # that earlier versions do not count
CELLS = ("lstm", "gru")
SAMPLERS: dict[str, dict[str, Any]] = {
    "sequential": {"sampler": "sequential"},
    "random": {"sampler": "random"},
    "document": {"sampler": "document", "documents": "line"},
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.3, "num_layers": 2},
    "tied adaptive": {"tie_embeddings": True, "head": "adaptive", "tokenizer": "word"},
    "bfloat16": {"precision": "bfloat16"},
}
COMMON: dict[str, Any] = {
    "corpus": "brackets:20000",
    "hidden_size": 32,
    "batch_size": 8,
    "window": 16,
    "dropout": 0.0,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
    "max_steps": 200,
    "eval_every": 70,
}
WORDS = {"corpus": "markov:20000"}


def train(options: dict[str, Any], run: Path, stop: int | None = None) -> None:
    """A whole training, or one that is stopped after a step and resumed."""
    from lmkit.config import Config
    from lmkit.session.session import Session

    session = Session(Config().override(options), run)
    if stop is not None:
        with closing(session.records()) as records:
            next(record for record in records if record.step == stop)
        session.stop()
        session = Session.resume(run)
    for _ in session.records():
        pass
    session.close()


def fingerprint(run: Path) -> dict[str, str]:
    """sha256 by name: the tensors of the best model and of the last checkpoint, and the metrics."""
    from safetensors.torch import load_file

    last = max((run / "checkpoints").glob("step-*"))
    metrics = (run / "metrics.jsonl").read_bytes()
    parts = {"metrics.jsonl": re.sub(CLIPPED, b"", metrics), COUNTED: b"".join(re.findall(CLIPPED, metrics))}
    found = {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}
    for path in (run / "model.safetensors", last / "model.safetensors", last / "training.safetensors"):
        where = "best" if path.parent == run else "last"
        for name, tensor in load_file(path).items():
            found[f"{where} {path.stem} {name}"] = _sha256(tensor)
    return dict(sorted(found.items()))


def _sha256(tensor: Any) -> str:
    import torch

    return hashlib.sha256(tensor.flatten().view(torch.uint8).numpy()).hexdigest()  # numpy has no bfloat16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the fingerprints to this file")
    parser.add_argument("--against", type=Path, help="compare with the fingerprints of this file")
    arguments = parser.parse_args()
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cell, sampler, kind in itertools.product(CELLS, SAMPLERS, KINDS):
            name = f"{cell}, {sampler}, {kind}"
            words = WORDS if "tokenizer" in KINDS[kind] else {}
            options = {**COMMON, "cell": cell, **words, **SAMPLERS[sampler], **KINDS[kind]}
            run = Path(folder) / name
            train(options, run)
            found[name] = fingerprint(run)
            resumed = run.with_name(f"{name}, resumed")
            train(options, resumed, stop=101)
            assert fingerprint(resumed) == found[name], f"{name}: the resumed run is another one"
            print(f"{name}: {len(found[name])} fingerprints; the resumed run has the same", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.against is None:
        return 0
    before = json.loads(arguments.against.read_text(encoding="utf-8"))
    names = [(run, name) for run in before for name in before[run].keys() | found.get(run, {}).keys() - {COUNTED}]
    differing = [f"{run}: {name}" for run, name in names if before[run].get(name) != found.get(run, {}).get(name)]
    print(f"{len(names) - len(differing)} of {len(names)} are the same")
    print(*differing, sep="\n")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
