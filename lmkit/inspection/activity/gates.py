"""All that is seen of gates, states and attention over one text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmkit.inspection.activity.activity import Activity
from lmkit.inspection.activity.attention import AttentionByLag
from lmkit.inspection.activity.following import Following
from lmkit.inspection.finding import Finding

__all__ = ["Followed", "Gates"]


@dataclass(frozen=True, eq=False)
class Followed(Finding):
    """How the units of one part of a layer's state follow a quantity of the text."""

    layer: int
    name: str
    quantity: str
    result: Following


@dataclass(frozen=True, eq=False)
class Gates(Finding):
    """tokens: what each of the T tokens stands for. activity: (T, D) for each gate and part of the state. following:
    what units follow, where the text is long enough to say. attention: of the layers that attend.
    """

    tokens: tuple[str, ...]
    activity: tuple[Activity, ...]
    following: tuple[Followed, ...]
    attention: tuple[AttentionByLag, ...]

    def summary(self) -> dict[str, Any]:
        """``to_dict`` without the values of every token."""
        whole = self.to_dict()
        short = [{name: value for name, value in one.items() if name != "values"} for one in whole["activity"]]
        return {**whole, "tokens": len(self.tokens), "activity": short}
