"""What lmkit reaches in a given time: the goals of docs/benchmarks.md, measured again.

    .venv/bin/python scripts/bench_quality.py --data FOLDER --seeds 3 --json result.json [CASE ...]

FOLDER holds tinyshakespeare/input.txt and wikitext-2/{train,valid,test}.txt. Every figure is the best checkpoint's on
the validation split by `lmkit eval`: one stream, float32. Seconds are those inside the training loop. Run it on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "default": {"arguments": [], "goal": "whole command at most 120 s; 70 % of a sample's words known"},
    "shakespeare-2min": {
        "arguments": ["--preset", "shakespeare-2min"],
        "corpus": "tinyshakespeare/input.txt",
        "goal": "at most 1.53 nats per character after 120 s",
    },
    "shakespeare-6min": {
        "arguments": ["--preset", "shakespeare-6min"],
        "corpus": "tinyshakespeare/input.txt",
        "goal": "at most 1.47 nats per character after 360 s",
    },
    "wikitext2-8min": {
        "arguments": ["--preset", "wikitext2-8min"],
        "corpus": "wikitext-2",
        "goal": "perplexity at most 150 after 480 s",
    },
}


def lmkit(*arguments: str) -> str:
    """Run a command of lmkit's and return its standard output."""
    done = subprocess.run([sys.executable, "-m", "lmkit", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"lmkit {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


def measure(name: str, data: Path | None, seed: int, folder: Path) -> dict[str, Any]:
    """Train one case with one seed and measure it."""
    case = CASES[name]
    run = folder / f"{name}-{seed}"
    arguments = [*case["arguments"], "--seed", str(seed), "--out", str(run)]
    if "corpus" in case:
        assert data is not None
        arguments += ["--corpus", str(data / case["corpus"])]
    started = time.perf_counter()
    trained = json.loads(lmkit("train", "--json", *arguments))
    wall = time.perf_counter() - started
    evaluated = json.loads(lmkit("eval", str(run), "--split", "valid", "--json"))
    result = {
        "case": name,
        "seed": seed,
        "nats_per_token": evaluated["nats_per_token"],
        "perplexity": evaluated["perplexity"],
        "tokens": evaluated["tokens"],
        "steps": trained["steps"],
        "training_seconds": trained["seconds"],
        "tokens_per_second": trained["tokens"] / trained["seconds"],
        "wall_seconds": round(wall, 1),
    }
    if name == "default":
        result["known_words"] = known_words(run, seed)
    return result


def known_words(run: Path, seed: int) -> float:
    """Share of the words of a 2,000-character sample that occur in the training text."""
    from lmkit.run.directory import RunDirectory
    from lmkit.text.corpus import build_corpus

    directory = RunDirectory.open(run)
    stored = directory.stored()
    tokenizer = stored.tokenizer
    corpus = build_corpus(stored.config.data, tokenizer=tokenizer)
    pattern = re.compile(r"[^\W\d_]+")
    known = set(pattern.findall(tokenizer.decode(corpus.splits["train"].ids)))
    words = pattern.findall(lmkit("sample", str(run), "--length", "2000", "--seed", str(seed)))
    return sum(word in known for word in words) / len(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--data", type=Path, default=os.environ.get("LMKIT_TEST_DATA"), help="folder of the corpora")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.cases or list(CASES):
            rows = []
            for seed in range(1, arguments.seeds + 1):
                rows.append(measure(name, arguments.data and Path(arguments.data), seed, Path(folder)))
                print(json.dumps(rows[-1]), flush=True)
            results += rows
            summarise(name, rows)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def summarise(name: str, rows: list[dict[str, Any]]) -> None:
    """The median of the seeds, with the spread."""
    from lmkit.hardware import choose_threads, describe_cpu

    for figure in ("nats_per_token", "perplexity", "training_seconds", "wall_seconds", "known_words"):
        values = [row[figure] for row in rows if figure in row]
        if values:
            print(f"{name} {figure}: median {statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})")
    print(f"goal: {CASES[name]['goal']}; {describe_cpu()}, {choose_threads(None)} threads", flush=True)


if __name__ == "__main__":
    main()
