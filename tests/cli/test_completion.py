"""The Tab key: what it offers, how it is installed, and that it does not wait for torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from lmkit.cli import main
from lmkit.text.tokenizers.kinds import TOKENIZERS


def offered(*words: str) -> list[str]:
    """What the Tab key offers after these words, the last one not ended yet; a path that may follow as ``file:``."""
    complete = ShellComplete(main, {}, "lmkit", "_LMKIT_COMPLETE")
    found = complete.get_completions(list(words[:-1]), words[-1])
    return [one.value if one.type == "plain" else f"{one.type}:{one.value}" for one in found]


@pytest.fixture
def runs(work: Path) -> Path:
    """Folders that look like runs: three in ``runs``, one elsewhere; and one that is none."""
    for name in ("runs/book-1", "runs/book-2", "runs/letters-1", "elsewhere/old", "runs/no-run"):
        (work / name).mkdir(parents=True)
        if name != "runs/no-run":
            (work / name / "config.json").write_text("{}", encoding="utf-8")
    return work


def test_commands_and_options_are_offered():
    assert offered("ev") == ["eval"]
    assert offered("train", "--max-s") == ["--max-steps", "--max-seconds"]
    assert offered("eval", "runs/x", "--split", "") == ["train", "valid", "test"]
    assert "eval" in offered("no-such-command", ""), "a mistake further left is no error while one types"


@pytest.mark.parametrize("command", ["eval", "score", "sample", "info", "doctor", "compare"])
def test_run_folders_are_offered(runs: Path, command: str):
    assert offered(command, "") == ["runs/book-1", "runs/book-2", "runs/letters-1"]
    assert offered(command, "runs/b") == ["runs/book-1", "runs/book-2"]
    assert offered(command, "book") == ["book-1", "book-2"]
    assert offered(command, "elsewhere/") == ["elsewhere/old"]
    assert offered(command, "else") == ["dir:else"]


def test_a_run_to_resume_or_to_mix_with_is_offered(runs: Path):
    assert offered("train", "--resume", "runs/l") == ["runs/letters-1"]
    assert offered("eval", "runs/book-1", "--mix", "runs/book") == ["runs/book-1", "runs/book-2"]


def test_corpora_presets_and_tokenizers_are_offered_by_name():
    assert offered("train", "--corpus", "pyd") == ["file:pyd", "pydoc"]
    assert offered("train", "pyd") == ["file:pyd", "pydoc"]
    assert offered("corpora", "tiny")[1:] == ["tinystories"]
    assert "wikitext2-8min" in offered("train", "--preset", "")
    assert offered("train", "--tokenizer", "") == ["file:", *TOKENIZERS]


def test_the_tab_key_does_not_wait_for_torch():
    code = "import sys, lmkit.cli as cli\ntry: cli.main(prog_name='lmkit')\nfinally: print('torch' in sys.modules)"
    words = {"COMP_WORDS": "lmkit train --tokenizer ", "COMP_CWORD": "3", "_LMKIT_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **words}, capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout.splitlines() == ["file,", "plain,char", "plain,word", "plain,bpe", "False"], done.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    (tmp_path / "my home").mkdir()
    return tmp_path / "my home"


@pytest.mark.parametrize(("shell", "startup"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_twice_adds_one_line_and_keeps_what_was_there(cli, home, monkeypatch, shell, startup):
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    (home / startup).write_bytes(b"alias ll='ls -l'  # no line end")
    for _ in range(2):
        assert cli("completion", "--install").code == 0
    script = home / ".local" / "share" / "lmkit" / f"completion.{shell}"
    assert (home / startup).read_text() == f"alias ll='ls -l'  # no line end\nsource '{script}'\n"
    assert script.read_text() == cli("completion", shell).stdout


def test_fish_reads_its_own_folder(cli, home):
    outcome = cli("completion", "fish", "--install")
    assert outcome.code == 0
    assert "complete " in (home / ".config" / "fish" / "completions" / "lmkit.fish").read_text()
    assert sorted(path.name for path in home.iterdir()) == [".config"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_what_is_installed(cli, home):
    assert cli("completion", "bash", "--install").code == 0
    command = ["bash", "--noprofile", "--rcfile", str(home / ".bashrc"), "-ic", "complete -p lmkit"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL, check=False)
    assert done.stdout.strip().endswith("-F _lmkit_completion lmkit"), done


def test_a_shell_that_is_not_known_is_asked_for(refused, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert "lmkit completion bash --install" in refused("completion", "--install")


def test_a_home_that_cannot_be_written_is_a_sentence(cli, home):
    (home / ".local").write_text("a file where a folder should be", encoding="utf-8")
    outcome = cli("completion", "bash", "--install")
    assert outcome.code == 1
    assert outcome.stderr.startswith("Error: Cannot write ")
