"""The feed-forward branch of a residual block."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FeedForward"]

EXPANSION = 4


class FeedForward(nn.Module):
    """W gelu(V N(x) + b) + c, with N a layer normalisation, and four times as wide inside."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, EXPANSION * size)
        self.down = nn.Linear(EXPANSION * size, size)

    def forward(self, x: Tensor) -> Tensor:
        """What is to be added to x (..., D)."""
        branch: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return branch
