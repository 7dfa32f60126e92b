"""What a session writes into its two logs: a line for every 20 steps, each validation, and the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.files import Check, always
from lmkit.run.directory import TIMINGS
from lmkit.run.log import LogFile
from lmkit.run.metrics import METRICS
from lmkit.session.measurements import Measured
from lmkit.training.loop import EvaluationRecord
from lmkit.training.state import TrainState
from lmkit.training.step import StepRecord

__all__ = ["SessionLog"]

LOG_EVERY = 20


class SessionLog:
    """metrics.jsonl and timings.jsonl, and sums over the steps since the last line. started: training seconds at that
    line. unit: what the loss counts, which names the entries. clipped: steps that were clipped; None where a checkpoint
    of an early version did not count those before it.
    """

    def __init__(self, folder: Path, check: Check = always, unit: str = "token") -> None:
        self.unit = unit
        self.metrics, self.timings = LogFile(folder / METRICS, check), LogFile(folder / TIMINGS, check)
        self._clear(0.0)

    def _clear(self, started: float) -> None:
        self.nll, self.tokens, self.largest_norm, self.skipped = 0.0, 0, 0.0, 0
        self.clipped: int | None = 0
        self.last: tuple[int, int, float] | None = None  # step, epoch and learning rate of the newest step
        self.started = started

    def add(self, metrics: Mapping[str, Any], timings: Mapping[str, Any] | None = None) -> None:
        """A line in each log; one that the disk refuses waits."""
        self.metrics.add(metrics)
        if timings is not None:
            self.timings.add(timings)

    def add_step(self, record: StepRecord, train: TrainState) -> None:
        """Take note of steps; a line for every 20."""
        self.nll += record.nll
        self.tokens += record.tokens
        self.largest_norm = max(self.largest_norm, record.grad_norm)
        self.skipped += len(record.skipped)
        self.clipped = None if self.clipped is None else self.clipped + record.clipped
        self.last = (record.step, record.epoch, record.lr)
        if record.step % LOG_EVERY == 0:
            self.end_interval(train)

    def add_evaluation(self, record: EvaluationRecord, train: TrainState) -> None:
        """A line for a validation."""
        position = {"step": record.step, "epoch": record.epoch, f"{self.unit}s": record.tokens}
        metrics = {"split": "valid", "best": record.is_best, **record.evaluation.logged()}
        metrics |= {"averaged": record.averaged} if record.averaged else {}
        self.add(
            {"kind": "evaluation", **position, **metrics},
            {"kind": "evaluation", **position, "seconds": round(train.elapsed, 3)},
        )

    def add_final(self, step: int, measurement: Measured | None) -> None:
        """The closing line, of the model of this step: it says that the run has ended."""
        self.add({"kind": "final", "step": step, **({} if measurement is None else measurement.logged())})

    def end_interval(self, train: TrainState) -> None:
        """A line for the steps since the last one, if there are any."""
        if self.last is None:
            return
        step, epoch, lr = self.last
        position = {"kind": "training", "step": step, "epoch": epoch, f"{self.unit}s": train.tokens}
        loss = {
            "nll": self.nll,
            f"{self.unit}s_scored": self.tokens,
            f"nats_per_{self.unit}": self.nll / self.tokens if self.tokens else None,
        }
        clipped = {} if self.clipped is None else {"clipped": self.clipped}
        skipped = {"skipped": self.skipped} if self.skipped else {}
        seconds = train.elapsed - self.started
        self.add(
            {**position, **loss, "lr": lr, "grad_norm": self.largest_norm, **clipped, **skipped},
            {
                **position,
                "seconds": round(train.elapsed, 3),
                f"{self.unit}s_per_second": round(self.tokens / seconds) if seconds > 0 else None,
                "time": round(time.time(), 3),
            },
        )
        self._clear(train.elapsed)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of the log: where it ends, and the sums since."""
        return {
            **self.metrics.end(),
            "interval": (self.nll, self.tokens, self.largest_norm, self.skipped),
            "clipped": self.clipped,
            "last": self.last,
        }

    def continue_from(self, content: bytes, values: Mapping[str, Any] | None, started: float = 0.0) -> bool:
        """Go on where a checkpoint was made (None: at the beginning). content: of metrics.jsonl. Returns whether the
        metrics up to there are as they were left. Timings are kept whole: they tell of the steps that were lost, too.
        """
        self.timings.continue_at_the_end()
        if values is None:
            return self.metrics.continue_in(content, 0, None)
        self._clear(started)
        nll, tokens, norm, skipped = values["interval"]
        self.nll, self.tokens, self.largest_norm, self.skipped = float(nll), int(tokens), float(norm), int(skipped)
        clipped = values.get("clipped") if self.tokens or self.skipped else 0
        self.clipped = clipped if isinstance(clipped, int) else None
        if values["last"] is not None:
            step, epoch, lr = values["last"]
            self.last = int(step), int(epoch), float(lr)
        return self.metrics.continue_in(content, int(values["length"]), str(values["sha256"]))
