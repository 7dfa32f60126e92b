"""What metrics.jsonl of a run has: its records, from the bytes that were read once."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from lmkit.run.json_files import parse

__all__ = ["METRICS", "Metrics"]

METRICS = "metrics.jsonl"
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Metrics:
    """The content of metrics.jsonl."""

    content: bytes

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """All records; lines that are no records, as a crash may leave one, are passed over."""
        found = []
        for line in iter(partial(io.BytesIO(self.content).readline, LONGEST_LINE), b""):
            with contextlib.suppress(ValueError, RecursionError):
                record = parse(line)
                if isinstance(record, dict):
                    found.append(record)
        return found

    @property
    def closing_record(self) -> dict[str, Any] | None:
        """The last record that a run which has ended writes, with its closing figures; None before."""
        return next((record for record in reversed(self.records) if record.get("kind") == "final"), None)

    @property
    def has_ended(self) -> bool:
        """Whether the run has written its closing record."""
        return self.closing_record is not None

    @property
    def best_step(self) -> int | None:
        """The step that model.safetensors is of: of the closing record, else of the newest best validation."""
        found = [record.get("step") for record in self.records if record.get("best") is True]
        step = (self.closing_record or {}).get("step", found[-1] if found else None)
        return step if isinstance(step, int) else None

    def best_after(self, step: int) -> bool:
        """Whether they have a best validation after a step: its model may be there without a checkpoint."""
        best = [record.get("step") for record in self.records if record.get("best") is True]
        return any(isinstance(found, int) and found > step for found in best)

    def validations(self, step: int, unit: str = "token") -> list[float]:
        """Nats per unit (token, document) of the validations up to a step."""
        found = [record for record in self.records if record.get("kind") == "evaluation"]
        figures = [(record.get("step"), record.get(f"nats_per_{unit}")) for record in found]
        return [nats for then, nats in figures if isinstance(then, int) and then <= step and isinstance(nats, float)]
