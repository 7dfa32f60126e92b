"""Text that a model is to be measured on and has been trained on: long lines that an earlier run's text had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmkit.errors import LmkitError
from lmkit.run.stored import StoredRun
from lmkit.text.cut_text import Progress, open_cut
from lmkit.text.lines import LineCounts
from lmkit.text.sources.opening import is_at_hand
from lmkit.text.sources.source import Slice

__all__ = ["Overlap", "find_overlap"]

Overlap = dict[str, dict[str, Any]]
MEASURED = ("valid", "test")


def find_overlap(stored: StoredRun, slices: Mapping[str, Slice], progress: Progress | None) -> Overlap | None:
    """For each split that is measured, how many of its ``lines`` of SHORTEST_LINE characters or more were looked up
    among those of the run's training text, and which ``share`` of them it has. None where that text is not at hand, or
    is no longer what the run was trained on.
    """
    if not is_at_hand(stored.config.data.corpus):
        return None
    try:
        with open_cut(stored.config.data, progress=progress) as text:
            if text.survey.info()["sha256"] != stored.record.text_hash:
                return None
            known = LineCounts.of(text.slices["train"].encoded())
    except LmkitError:  # it can be read no more, which is no mistake of whoever trains on another text
        return None
    found = {name: known.share_known(slices[name].encoded()) for name in MEASURED if name in slices}
    return {name: {"lines": lines, "share": share} for name, (share, lines) in found.items()}
