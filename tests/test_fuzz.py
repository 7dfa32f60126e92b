"""A small part of the fuzzer: it finds nothing in lmkit, and it finds what is broken on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
# In a process of its own: the fuzzer forks, and a fork loses the threads that other tests have started.
PROGRAM = """
import importlib, sys
sys.path.insert(0, sys.argv.pop(1))
place, name = sys.argv.pop(1).rsplit(".", 1) if "." in sys.argv[1] else (sys.argv.pop(1), "")
import fuzz, fuzzing.judge

make_judge = fuzzing.judge.Judge

def judge(*arguments, **options):
    whole = make_judge(*arguments, **options)
    if name:  # only after the runs were made
        module, _, kind = place.partition(":")
        home = importlib.import_module(module)
        home = getattr(home, kind) if kind else home
        def broken(*arguments, **options):
            raise KeyError("broken on purpose")
        setattr(home, name, broken)
    return whole

fuzzing.judge.Judge = judge
sys.exit(fuzz.main())
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, limits and file descriptors of processes")


def fuzz(*arguments: object, broken: str = "-") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(SCRIPTS), broken, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize(
    ("commands", "damage", "texts"), [(3, 5, 12), pytest.param(30, 60, 200, marks=pytest.mark.slow)]
)
def test_commands_damaged_files_and_texts_show_no_fault(commands: int, damage: int, texts: int):
    outcome = fuzz("--commands", commands, "--damage", damage, "--texts", texts, "--seed", 7)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    for kind, number in (("commands", commands), ("damage", damage), ("texts", texts)):
        assert f"{kind}: {number} cases" in outcome.stdout
    assert "0 findings" in outcome.stdout


@pytest.mark.slow
def test_a_fault_is_found_and_replayed():
    broken = "lmkit.text.tokenizers.tokenizer:Tokenizer.save"
    outcome = fuzz("--texts", 40, "--seed", 7, broken=broken)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    case = next(line for line in outcome.stdout.splitlines() if "KeyError: 'broken on purpose'" in line).split()[0]
    again = fuzz("--only", case, "--seed", 7, broken=broken)
    assert again.returncode == 1
    assert "1 findings" in again.stdout
    assert fuzz("--only", case, "--seed", 7).returncode == 0


@pytest.mark.slow
def test_a_traceback_of_a_command_is_a_fault():
    outcome = fuzz("--damage", 6, "--seed", 7, broken="lmkit.run.directory:RunDirectory.stored")
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "a traceback: KeyError: 'broken on purpose'" in outcome.stdout
