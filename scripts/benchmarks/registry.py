"""All cases by name."""

from __future__ import annotations

from benchmarks import cells, checkpoint, evaluate, gemm, generate, parallel, text, train
from benchmarks.case import Case

MODULES = (train, parallel, evaluate, generate, cells, checkpoint, text)


def all_cases() -> dict[str, Case]:
    """Every case, in the order of its subject."""
    return {case.name: case for module in MODULES for case in module.CASES}


def find(names: list[str]) -> list[Case]:
    """The cases with these names, or whose names begin with one of them and a slash. Raises SystemExit for others."""
    cases = all_cases()
    found = {}
    for name in names or list(cases):
        matches = {known: case for known, case in cases.items() if known == name or known.startswith(f"{name}/")}
        if not matches:
            raise SystemExit(f"There is no case {name}: see bench.py --list.")
        found |= matches
    return list(found.values())


def case_of(name: str) -> Case:
    """One case, the products of matrices included."""
    return gemm.CASE if name == gemm.CASE.name else all_cases()[name]
