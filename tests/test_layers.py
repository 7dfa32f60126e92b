"""The rules of the house: which room may import which, who may know click and rich, and what an import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lmkit"

# From the ground up: a room imports rooms above it in this table, never its neighbours in the line or those below.
# `__init__` is the package itself with its public names, above all the rooms that it takes them from.
LEVELS = (
    ("errors",),
    ("fields",),
    ("config", "files"),
    ("text", "hardware", "distributed", "presets", "plots"),
    ("model",),
    ("samplers",),
    ("evaluation", "generation", "inspection"),
    ("training",),
    ("run",),
    ("session",),
    ("classify",),
    ("api", "report", "doctor"),
    ("comparing",),
    ("experiments",),
    ("console",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# Lower in the house, but none of their business: a model takes ids and gives numbers, and what goes on inside it is
# values, which others draw.
CLOSED = {("model", "text"), ("inspection", "plots")}

# Packages that one room alone may import.
ONLY_IN = {"click": "cli", "rich": "console"}
# Packages that a room must not import: text must serve without torch, and a model knows no tokens but their ids.
NOT_IN = {"text": {"torch"}, "model": {"tokenizers", "datasets"}}

# What `import lmkit` and a help page must not wait for.
HEAVY = ("torch", "datasets", "tokenizers")


class Import(NamedTuple):
    name: str  # lmkit.text.corpus, torch.nn
    line: int
    for_types_only: bool


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """``lmkit.text.tokenizers.bpe`` -> ``text``; the package itself is ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    """Every import of a file, those inside functions too."""
    module = module_name(path, package)
    home = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def walk(node: ast.AST, for_types_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, for_types_only)
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{source}.{alias.name}", node.lineno, for_types_only)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            for statement in node.body:
                yield from walk(statement, True)
            for statement in node.orelse:
                yield from walk(statement, for_types_only)
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child, for_types_only)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def imported_room(name: str) -> str | None:
    """The room that an import of lmkit's reaches; None for the bare package and its version, open to all."""
    parts = name.split(".")
    if len(parts) == 1 or parts[1] == "__version__":
        return None
    return parts[1] if parts[1] in LEVEL_OF else "__init__"  # a public name taken from the package itself


def sources(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def unplaced_rooms(package: Path) -> list[str]:
    rooms = {room_of(module_name(path, package)) for path in sources(package)}
    return [
        f"lmkit.{room} is in no level: place it in LEVELS in tests/test_layers.py and in docs/architecture.md"
        for room in sorted(rooms - set(LEVEL_OF))
    ]


def imports_that_climb(package: Path) -> list[str]:
    found = []
    for path in sources(package):
        room = room_of(module_name(path, package))
        for item in imports_of(path, package):
            target = imported_room(item.name) if item.name.split(".")[0] == "lmkit" else None
            if target is None or target == room or room not in LEVEL_OF:
                continue
            if LEVEL_OF[target] >= LEVEL_OF[room] or (room, target) in CLOSED:
                found.append(f"{path.relative_to(package.parent)}:{item.line}: {room} imports {item.name}")
    return found


def packages_out_of_place(package: Path) -> list[str]:
    found = []
    for path in sources(package):
        room = room_of(module_name(path, package))
        for item in imports_of(path, package):
            top = item.name.split(".")[0]
            misplaced = ONLY_IN.get(top, room) != room or top in NOT_IN.get(room, ())
            if misplaced and not item.for_types_only:
                found.append(f"{path.relative_to(package.parent)}:{item.line}: {room} imports {top}")
    return found


def prints(package: Path) -> list[str]:
    found = []
    for path in sources(package):
        if room_of(module_name(path, package)) in ("cli", "console"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{path.relative_to(package.parent)}:{node.lineno}: library code does not print")
    return found


def circles(package: Path) -> list[str]:
    """Files that import each other, directly or through others, inside a room too; those for types alone are free."""
    names = {module_name(path, package) for path in sources(package)}
    arrows: dict[str, set[str]] = {}
    for path in sources(package):
        module = module_name(path, package)
        found = {item.name for item in imports_of(path, package) if not item.for_types_only}
        targets = {name if name in names else name.rpartition(".")[0] for name in found}
        arrows[module] = {target for target in targets & names if target != module}
    reached = {module: _reach(module, arrows) for module in arrows}
    return [f"{module} is imported by what it imports" for module in sorted(arrows) if module in reached[module]]


def _reach(module: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows[module])
    while waiting:
        target = waiting.pop()
        if target not in seen:
            seen.add(target)
            waiting += arrows[target]
    return seen


RULES = (unplaced_rooms, imports_that_climb, packages_out_of_place, prints, circles)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Callable[[Path], list[str]]):
    broken = rule(PACKAGE)
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("text/bpe.py", "import lmkit.model", imports_that_climb),
        ("text/bpe.py", "from lmkit import run", imports_that_climb),
        ("text/bpe.py", "from ..samplers import Window", imports_that_climb),
        ("text/bpe.py", "def f():\n    from lmkit.model import cells", imports_that_climb),
        ("text/__init__.py", "from .. import model", imports_that_climb),
        ("text/bpe.py", "if TYPE_CHECKING:\n    import lmkit.run.directory", imports_that_climb),
        ("samplers.py", "from lmkit.training.state import TrainState", imports_that_climb),
        ("model/head.py", "from lmkit.text import Tokenizer", imports_that_climb),
        ("model/head.py", "from lmkit import load", imports_that_climb),
        ("text/bpe.py", "import torch.nn", packages_out_of_place),
        ("model/head.py", "import tokenizers", packages_out_of_place),
        ("run.py", "import click", packages_out_of_place),
        ("cli/train.py", "from rich.table import Table", packages_out_of_place),
        ("run.py", "print(1)", prints),
        ("attic.py", "", unplaced_rooms),
        ("attic/box.py", "", unplaced_rooms),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, line: str, rule: Callable[[Path], list[str]]):
    path = tmp_path / "lmkit" / file
    path.parent.mkdir(parents=True)
    path.write_text(line, encoding="utf-8")
    assert len(rule(tmp_path / "lmkit")) == 1


def test_a_circle_is_found_inside_a_room_too(tmp_path: Path):
    room = tmp_path / "lmkit" / "text"
    room.mkdir(parents=True)
    for name, target in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        (room / f"{name}.py").write_text(f"from lmkit.text.{target} import x", encoding="utf-8")
    assert [line.split()[0] for line in circles(tmp_path / "lmkit")] == ["lmkit.text.a", "lmkit.text.b", "lmkit.text.c"]
    (room / "c.py").write_text("if TYPE_CHECKING:\n    from lmkit.text.a import x", encoding="utf-8")
    assert circles(tmp_path / "lmkit") == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("samplers.py", "from lmkit.text.corpus import Corpus"),
        ("text/bpe.py", "from .tokenizer import Tokenizer\nfrom lmkit.text import word"),
        ("text/bpe.py", "if TYPE_CHECKING:\n    import torch"),
        ("run.py", "from lmkit import __version__, model"),
        ("cli/train.py", "import click\nfrom lmkit import load, console\nprint(1)"),
        ("__init__.py", "from .api import load"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, line: str):
    path = tmp_path / "lmkit" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line, encoding="utf-8")
    assert [broken for rule in RULES for broken in rule(tmp_path / "lmkit")] == []


def heavy_packages_after(code: str) -> list[str]:
    """The heavy packages that are loaded in a fresh process once ``code`` has run."""
    tail = f"import sys; sys.stderr.write('loaded:' + ','.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [name for name in done.stderr.rpartition("loaded:")[2].split(",") if name]


def test_importing_lmkit_loads_nothing_heavy():
    assert heavy_packages_after("import lmkit; dir(lmkit); lmkit.__all__") == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]):
    code = f"""
import runpy, sys
sys.argv = ["lmkit", *{arguments!r}]
try:
    runpy.run_module("lmkit", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
"""
    assert heavy_packages_after(code) == []
