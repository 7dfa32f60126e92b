"""Eigenvalues and singular values of the matrices that lead from one state to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmkit.inspection.finding import Finding, Floats, plain
from lmkit.inspection.gradients.norms import GradientNorms
from lmkit.model.cells import Cell
from lmkit.model.language_model import LanguageModel

__all__ = ["Spectra", "Spectrum", "recurrent_spectra"]


@dataclass(frozen=True, eq=False)
class Spectrum(Finding):
    """The spectrum of the matrix of one gate (of one head, where a cell has heads).

    eigenvalues: complex, the largest modulus first; none where the matrix is not square. singular_values: the largest
    first.
    """

    layer: int
    gate: str
    head: int | None
    eigenvalues: NDArray[np.complex128]
    singular_values: Floats

    @property
    def radius(self) -> float:
        """The largest modulus of an eigenvalue, not a number where there is none."""
        return float(abs(self.eigenvalues[0])) if len(self.eigenvalues) else float("nan")

    @property
    def norm(self) -> float:
        """The largest singular value: by how much a product with the matrix can lengthen a vector."""
        return float(self.singular_values[0])

    def to_dict(self) -> dict[str, Any]:
        """Eigenvalues as pairs of real and imaginary part."""
        pairs = np.stack([self.eigenvalues.real, self.eigenvalues.imag], axis=1).tolist()
        whole = {"radius": plain(self.radius), "norm": self.norm}
        which = {"layer": self.layer, "gate": self.gate, "head": self.head}
        return {**which, **whole, "eigenvalues": pairs, "singular_values": self.singular_values.tolist()}


@dataclass(frozen=True, eq=False)
class Spectra(Finding):
    """Of a run: the spectra of its network, and the gradient norms of its training."""

    spectra: tuple[Spectrum, ...]
    gradients: GradientNorms


def recurrent_spectra(model: LanguageModel) -> list[Spectrum]:
    """Those of every layer's recurrent matrices, gate by gate; of a cell without such matrices there are none."""
    return [spectrum for layer, cell in enumerate(model.cells) for spectrum in _spectra(layer, cell)]


def _spectra(layer: int, cell: Cell) -> Iterator[Spectrum]:
    rows_of = dict(cell.gate_rows())
    for name in cell.recurrent_matrices:
        parameter = cell.get_parameter(name)
        blocks = parameter.detach().cpu().double().flatten(0, -2).split(list(rows_of[parameter]))
        heads = len(blocks) // len(cell.gate_names)
        for number, block in enumerate(blocks):
            gate, head = divmod(number, heads)
            yield _spectrum(layer, cell.gate_names[gate], head if heads > 1 else None, block.numpy())


def _spectrum(layer: int, gate: str, head: int | None, matrix: Floats) -> Spectrum:
    square = matrix.shape[0] == matrix.shape[1]
    eigenvalues = np.linalg.eigvals(matrix).astype(np.complex128) if square else np.zeros(0, np.complex128)
    order = np.argsort(-abs(eigenvalues), kind="stable")
    singular_values: Floats = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    return Spectrum(layer, gate, head, eigenvalues[order], singular_values)
