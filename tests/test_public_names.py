"""Every public module says what it offers, and what it offers is there."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import lmkit

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lmkit.__path__, "lmkit.")
    if not any(part.startswith("_") for part in module.name.split("."))
)


def sorting_key(name: str) -> tuple[int, str]:
    """Ruff's order for ``__all__`` (RUF022): CONSTANTS, then Classes, then the rest. Ruff can mend it by itself."""
    if name.isupper() and len(name) > 1:
        return 0, name
    return (1 if name[0].isupper() else 2), name


def has_code(module: ModuleType) -> bool:
    """Whether the file holds more than a docstring."""
    path = inspect.getsourcefile(module)
    assert path is not None
    body = ast.parse(Path(path).read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


@pytest.mark.parametrize("name", ["lmkit", *MODULES])
def test_public_names_are_sorted_and_there(name: str):
    module = importlib.import_module(name)
    if not has_code(module):
        return  # a package that only holds modules offers nothing itself
    names = getattr(module, "__all__", None)
    assert names is not None, f"{name} has no __all__"
    assert list(names) == sorted(set(names), key=sorting_key)
    missing = [entry for entry in names if not hasattr(module, entry)]
    assert not missing, f"{name}.__all__ names what is not there: {missing}"


def test_public_names_are_listed_by_dir():
    assert set(lmkit.__all__) <= set(dir(lmkit))
