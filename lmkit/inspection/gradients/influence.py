"""How much each token of a text weighs in each prediction."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.inspection.finding import Finding, Floats

__all__ = ["Influence"]


@dataclass(frozen=True, eq=False)
class Influence(Finding):
    """read: the T tokens that were read, ``<eos>`` first. predicted: the token after each of them. norms: (T, T), in
    row t what each token weighs in the prediction of ``predicted[t]``, as ``token_influence`` has it.
    """

    read: tuple[str, ...]
    predicted: tuple[str, ...]
    norms: Floats

    def shares(self, row: int) -> Floats:
        """Of the tokens before ``predicted[row]``, which add up to 1: (row + 1,); equal where none has any weight."""
        norms: Floats = self.norms[row, : row + 1]
        total = norms.sum()
        shares: Floats = norms / total if total > 0 else norms * 0 + 1 / len(norms)
        return shares
