"""Runs a notebook from top to bottom and keeps what its cells show, without jupyter.

    .venv/bin/python scripts/notebook.py docs/lessons/class.ipynb
    .venv/bin/python scripts/notebook.py docs/lessons/class.ipynb --check   # runs it and writes nothing

The cells are plain Python in one namespace, in the notebook's folder. What a cell prints is kept, and its last value as
text, HTML and SVG, whichever it has. A cell that raises ends it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHOWN = {"text/html": "_repr_html_", "image/svg+xml": "_repr_svg_"}
Output = dict[str, Any]


def code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The cells of code, numbered from 1."""
    yield from enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1)


def run_cell(source: str, number: int, namespace: dict[str, Any]) -> list[Output]:
    """Run a cell; what it printed, and its last value if it has one."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace) if last else None
    return [*_stream(printed.getvalue()), *_result(value, number)]


def _stream(printed: str) -> Iterator[Output]:
    if printed:
        yield {"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)}


def _result(value: Any, number: int) -> Iterator[Output]:
    if value is None:
        return
    forms = {"text/plain": repr(value)}
    forms |= {kind: shown for kind, method in SHOWN.items() if (shown := getattr(value, method, lambda: None)())}
    yield {"data": forms, "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def run(path: Path) -> dict[str, Any]:
    """The notebook with the outputs that its cells give now."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(path.parent):
        for number, cell in code_cells(notebook):
            cell["execution_count"], cell["outputs"] = number, run_cell("".join(cell["source"]), number, namespace)
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.process_time()
    notebook = run(arguments.notebook.resolve())
    if not arguments.check:
        arguments.notebook.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{arguments.notebook} took {time.process_time() - began:.0f} s of the processor.")


if __name__ == "__main__":
    main()
