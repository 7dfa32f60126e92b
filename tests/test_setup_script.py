"""scripts/setup.sh with a Python that only pretends to install: what it says, keeps and does when pip fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(os.name != "posix" or shutil.which("bash") is None, reason="needs bash")

# Answers what setup.sh asks of a Python; as pip it says a lot, and takes a moment.
PYTHON = """#!/bin/sh
case "$*" in
*"pip install"*)
    seq -f "Collecting package-%g" 160
    sleep 0.3
    exit ${PIP_STATUS:-0} ;;
esac
"""
# A minute goes by at each look.
QUICK = "sleep() { SECONDS=$((SECONDS + 60)); command sleep 0.05; }; "


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that setup.sh takes for a checkout with an environment."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/setup.sh", "scripts/constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def set_up(checkout: Path, *, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{before}source scripts/setup.sh; set_up"],
        cwd=checkout,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_an_installation_says_one_line_and_the_second_call_says_nothing(checkout: Path):
    first = set_up(checkout)
    assert (first.returncode, first.stdout) == (0, "")
    assert first.stderr == "lmkit: installing into .venv: lmkit (the first time takes some minutes)\n"
    assert len((checkout / ".venv" / "lmkit-install.log").read_text().splitlines()) == 160
    second = set_up(checkout)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_a_long_installation_says_a_line_a_minute(checkout: Path):
    done = set_up(checkout, before=QUICK)
    assert done.returncode == 0
    _, *lines = done.stderr.splitlines()
    assert lines
    for minute, line in enumerate(lines, 1):
        assert line.startswith(f"lmkit: still installing after {minute} min: ")


def test_an_installation_that_fails_shows_the_end_of_its_log_and_is_tried_again(checkout: Path):
    failed = set_up(checkout, PIP_STATUS="1")
    assert (failed.returncode, failed.stdout) == (1, "")
    shown = failed.stderr.splitlines()
    assert shown[1:-1] == [f"Collecting package-{number}" for number in range(141, 161)]
    assert "the installation failed" in shown[-1]
    assert set_up(checkout).returncode == 0
