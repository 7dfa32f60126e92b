"""The wheel, outside the checkout: all its data is in it, and it reads nothing from anywhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Runs `python -m lmkit` and writes down every file that was opened: sys.argv is [-c, the list's place, arguments...].
OBSERVED = """
import json, runpy, sys
opened, place = set(), sys.argv.pop(1)
sys.addaudithook(lambda event, args: opened.add(args[0]) if event == "open" and isinstance(args[0], str) else None)
try:
    runpy.run_module("lmkit", run_name="__main__", alter_sys=True)
finally:
    with open(place, "w", encoding="utf-8") as file:
        json.dump(sorted(opened), file)
"""


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str
    opened: list[Path]


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. hatchling is among the test tools, so building needs no network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = python("-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content in it, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    done = python("-m", "pip", "install", *options, "--target", str(folder), str(wheel), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def lmkit(*arguments: str, installed: Path, tmp_path: Path) -> Outcome:
    """Run the installed lmkit in an empty folder. PYTHONPATH comes before the editable install of the checkout."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    listing = tmp_path / "opened.json"
    done = python("-c", OBSERVED, str(listing), *arguments, cwd=work, PYTHONPATH=str(installed), PYTHONSAFEPATH="1")
    opened = [Path(name) for name in json.loads(listing.read_text(encoding="utf-8"))]
    return Outcome(done.returncode, done.stdout, done.stderr, opened)


def from_checkout(opened: list[Path]) -> list[Path]:
    own = (ROOT / "lmkit", ROOT / "corpora")
    return [path for path in opened if any(path.is_relative_to(folder) for folder in own)]


def test_wheel_holds_everything(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"lmkit-{PROJECT['version']}.dist-info"
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lmkit").rglob("*.py")}
    presets = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lmkit" / "presets").glob("*.toml")}
    registry = {f"lmkit/corpora/{path.name}" for path in (ROOT / "corpora").glob("*.toml")}
    assert presets
    assert registry
    assert sources | presets | registry | {"lmkit/py.typed", f"{info}/licenses/LICENSE"} <= names
    assert entry_points.split() == ["[console_scripts]", "lmkit", "=", "lmkit.cli:main"]
    assert {name.split("/")[0] for name in names} == {"lmkit", info}


def test_installed_wheel_says_its_version(installed: Path, tmp_path: Path):
    outcome = lmkit("--version", installed=installed, tmp_path=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert PROJECT["version"] in outcome.stdout
    assert from_checkout(outcome.opened) == []


def test_installed_wheel_reads_its_own_registry(installed: Path, tmp_path: Path):
    outcome = lmkit("corpora", installed=installed, tmp_path=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "pydoc" in outcome.stdout
    assert set((installed / "lmkit" / "corpora").glob("*.toml")) & set(outcome.opened)
    assert from_checkout(outcome.opened) == []


def test_installed_wheel_reads_its_own_presets(installed: Path, tmp_path: Path):
    preset = min((installed / "lmkit" / "presets").glob("*.toml"))
    # The corpus does not exist, so this ends, by design, right after the preset was read.
    arguments = ["train", "--preset", preset.stem, "--corpus", "./no-such-file.txt"]
    outcome = lmkit(*arguments, installed=installed, tmp_path=tmp_path)
    assert outcome.code == 2, outcome.stderr
    assert "no-such-file.txt" in outcome.stderr
    assert preset in outcome.opened
    assert from_checkout(outcome.opened) == []


def test_types_of_options_need_no_argument():
    """click 8.2 and 8.3, which lmkit takes, cannot write ParamType[int]."""
    older = "import click; click.ParamType.__class_getitem__ = None; import lmkit.cli.options"
    done = subprocess.run([sys.executable, "-c", older], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
