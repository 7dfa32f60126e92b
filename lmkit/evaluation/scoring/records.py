"""How tokens, words and lines that were scored show themselves."""

from __future__ import annotations

from typing import Any

__all__ = ["shown_with"]


def shown_with(record: Any, **derived: float) -> str:
    """A named tuple as Python shows it, with numbers that follow from its fields behind them."""
    fields = [f"{name}={value!r}" for name, value in record._asdict().items()]
    return f"{type(record).__name__}({', '.join([*fields, *(f'{name}={x:.6g}' for name, x in derived.items())])})"
