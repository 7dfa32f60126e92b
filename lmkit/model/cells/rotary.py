"""Rotary position embedding: the product of a query and a key depends on how far apart they are."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotate"]

BASE = 10000.0


def rotate(vectors: Tensor, first: int = 0) -> Tensor:
    """Vectors (..., N, heads, d) turned by the angles of the positions ``first`` ... ``first`` + N - 1.

    Su et al. (2021), "RoFormer", arXiv 2104.09864, equation 15, with coordinates i and i + d / 2 as a pair; an odd last
    coordinate stays as it is. Angles are computed in float64.
    """
    half = vectors.shape[-1] // 2
    dtype, device = torch.promote_types(vectors.dtype, torch.float32), vectors.device
    positions = torch.arange(first, first + vectors.shape[-3], dtype=torch.float64, device=device)
    rates = BASE ** -(torch.arange(half, dtype=torch.float64, device=device) / max(1, half))
    angles = (positions[:, None] * rates)[:, None, :]  # (N, 1, d / 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    one, other, rest = vectors.split((half, half, vectors.shape[-1] - 2 * half), dim=-1)
    return torch.cat([one * cos - other * sin, one * sin + other * cos, rest.to(dtype)], dim=-1)
