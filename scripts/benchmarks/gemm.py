"""The limit: how many operations a second products of large float32 matrices do, in the same minute."""

from __future__ import annotations

from benchmarks.case import Case, Settings, Step

SIZE = 1024


def products(settings: Settings) -> Step:
    """Square matrices, large enough for the processor's best rate."""
    import torch

    size = 16 if settings.tiny else SIZE
    left, right = torch.randn(size, size), torch.randn(size, size)

    def step() -> float:
        torch.mm(left, right)
        return 2.0 * size**3

    return step


CASE = Case("gemm", "operations", "itself", products, products)
