"""run.json: what a run records of its text, its tokenizer, its machine and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.errors import RunError
from lmkit.run.json_files import read_object

__all__ = ["RUN", "RunRecord"]

RUN = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json, read once. fault: why it cannot be read, None where it can: a run without its record can
    still write text, and cannot be resumed.
    """

    values: Mapping[str, Any]
    fault: str | None = None

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """The record in a run folder."""
        try:
            return cls(read_object(folder / RUN))
        except RunError as error:
            return cls({}, str(error))

    def info(self) -> dict[str, Any]:
        """Corpus, hashes, versions, threads, precision. Raises RunError where run.json cannot be read."""
        if self.fault is not None:
            raise RunError(self.fault)
        return dict(self.values)

    @property
    def text_hash(self) -> Any:
        """What it records of the text's sha256, None where it has none."""
        return _entry(self.values, "corpus").get("sha256")

    @property
    def tokenizer_hash(self) -> Any:
        """What it records of the tokenizer's sha256, None where it has none."""
        return self.values.get("tokenizer_sha256")

    def counts(self, split: str) -> dict[str, int]:
        """The recorded counts of a split (tokens, documents, oov, ...); empty where there are none."""
        counts = _entry(_entry(self.values, "splits"), split)
        return {name: value for name, value in counts.items() if isinstance(value, int)}

    def split_hash(self, split: str) -> str | None:
        """The recorded sha256 of a split's text, None where there is none. Raises RunError as ``info``."""
        found = _entry(_entry(self.info(), "splits"), split).get("sha256")
        return found if isinstance(found, str) else None

    def model_at_end(self, step: int) -> str | None:
        """sha256 of the model that the run ended with at this step, None where that is not recorded."""
        ended = _entry(self.values, "ended")
        found = ended.get("model_sha256") if ended.get("step") == step else None
        return found if isinstance(found, str) else None


def _entry(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An entry that is an object, an empty one where a stranger's file has something else."""
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
