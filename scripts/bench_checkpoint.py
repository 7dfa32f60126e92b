"""What checkpoints cost: the time of one against a plain torch.save with fsync, and the share of training time.

    .venv/bin/python scripts/bench_checkpoint.py --corpus wikitext-2 --seconds 120 --json result.json

Trains the preset for a while, then saves the same training state in both ways, alternating. The share is what
checkpoints every 60 seconds take of training time; it is also measured directly, as the seconds inside ``save`` during
the training. The plain side writes one file with all the tensors and flushes it; it is frozen in this script.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path


def plain_save(state: object, path: Path) -> float:
    """The baseline, frozen: seconds of torch.save and fsync."""
    import torch

    started = time.perf_counter()
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, help="the folder or file that the preset is for")
    parser.add_argument("--preset", default="wikitext2-8min")
    parser.add_argument("--seconds", type=float, default=120, help="training before and during which is saved")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()

    from lmkit.hardware import describe_cpu, keep_freed_memory, wait_politely

    keep_freed_memory()
    wait_politely()
    import torch

    from lmkit.cli.options import make_config
    from lmkit.session.saving.best_model import ModelFile
    from lmkit.session.session import Session

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        given = {"corpus": arguments.corpus, "max_seconds": arguments.seconds, "eval_every": 10**9}
        session = Session(make_config(arguments.preset, None, given), Path(folder) / "run", warn=print)
        inside: list[float] = []
        save = session.saver.save

        def timed(*model: ModelFile) -> bool:
            started = time.perf_counter()
            done = save(*model)
            inside.append(time.perf_counter() - started)
            return done

        session.saver.save = timed  # type: ignore[method-assign]
        for _ in session.records():
            pass
        in_training = list(inside[:-1])  # the last one is the end of the run
        ours, theirs = [], []
        for number in range(arguments.rounds):
            session.train.step += 1  # a folder of its own each time
            for side in ("ours", "plain") if number % 2 == 0 else ("plain", "ours"):
                if side == "ours":
                    session.save()
                    ours.append(inside[-1])
                else:
                    theirs.append(plain_save(session.train.state_dict(), Path(folder) / "plain.pt"))
        size = (Path(folder) / "plain.pt").stat().st_size
        session.stop()

    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    figures = {
        "megabytes": size / 1e6,
        "checkpoint_seconds": ours,
        "plain_seconds": theirs,
        "ratios": ratios,
        "in_training_seconds": in_training,
        "share_every_60_s": [seconds / 60 for seconds in (*in_training, *ours)],
        "threads": torch.get_num_threads(),
    }
    for name in ("checkpoint_seconds", "plain_seconds", "ratios", "share_every_60_s"):
        values = figures[name]
        print(f"{name:20} median {statistics.median(values):.4f}   {min(values):.4f} to {max(values):.4f}")
    print(f"{size / 1e6:.0f} MB; saves during training: {', '.join(f'{seconds:.3f} s' for seconds in in_training)}")
    print(f"{describe_cpu()}; torch {torch.__version__}; Python {platform.python_version()}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
