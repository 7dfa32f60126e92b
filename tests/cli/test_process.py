"""lmkit as a program of its own: signals, pipes, encodings, and what a shell sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lmkit.session.language.measurements import TextMeasurements
from lmkit.session.saving.best_model import BestModel
from tests import forks

TRAIN = ["train", "--hidden-size", "8", "--batch-size", "4", "--window", "16", "--threads", "1"]
ENDLESS = [*TRAIN, "--corpus", "text.txt", "--max-steps", "10000000"]
GRACE = 120  # seconds after which something hangs

Start = Callable[..., "Program"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Program:
    """lmkit in a child: its standard error is read while it runs, its standard output when it has ended."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, output: Path) -> None:
        self._output = output
        reading, writing = os.pipe()
        with open(output, "wb") as file, open(writing, "wb"):
            self.pid = forks.start(arguments, folder, stdout=file.fileno(), stderr=writing)
        self.stderr = os.fdopen(reading, encoding="utf-8")
        self.returncode: int | None = None
        self._watch = threading.Timer(GRACE, self.send_signal, [signal.SIGKILL])
        self._watch.start()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self) -> tuple[str, str]:
        """Wait for its end: standard output and the rest of standard error."""
        with self.stderr:
            rest = self.stderr.read()
        self.returncode = forks.ended(self.pid)
        self._watch.cancel()
        return self._output.read_text(encoding="utf-8"), rest


@pytest.fixture
def start(work: Path, tmp_path: Path) -> Iterator[Start]:
    """Start lmkit; what still runs at the end of a test is killed."""
    running: list[Program] = []

    def call(*arguments: str, folder: Path = work) -> Program:
        running.append(Program(arguments, folder, tmp_path / f"output-{len(running)}"))
        return running[-1]

    yield call
    for process in running:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def wait_for(process: Program, begin: str) -> None:
    """Read standard error until a line begins so."""
    for line in process.stderr:
        if line.startswith(begin):
            return
    process.communicate()
    pytest.fail(f"lmkit ended before it said {begin!r}: exit code {process.returncode}")


def interrupted(process: Program, begin: str) -> tuple[str, str]:
    """Press Ctrl-C when a line begins so; give standard output and the rest of standard error."""
    wait_for(process, begin)
    process.send_signal(signal.SIGINT)
    outputs = process.communicate()
    assert process.returncode == 130, outputs
    assert "Traceback" not in outputs[1]
    return outputs


@needs_fork
def test_train_eval_and_sample_work_one_after_the_other(process, start, work):
    trained = process(*TRAIN, "--corpus", "-", "--max-steps", 3, "--json", cwd=work, input="The cat sat.\n" * 200)
    assert trained.returncode == 0, trained.stderr
    run = json.loads(trained.stdout)["run"]
    assert Path(run) == Path("runs", "stdin-1")
    (work / "elsewhere").mkdir()
    (work / "other.txt").write_text("The cat sat.\n", encoding="utf-8")
    options = ["--file", "../other.txt", "--json", "--threads", "1"]
    stdout, stderr = start("eval", str(work / run), *options, folder=work / "elsewhere").communicate()
    assert json.loads(stdout)["tokens"] == 13
    assert stderr == ""
    stdout, stderr = start("sample", run, "--length", "5", "--prompt", "The").communicate()
    assert stdout.startswith("The")
    assert stderr == ""


@needs_fork
def test_a_mistake_is_one_line_and_exit_code_2(start):
    process = start("train", "--corpus", "no-such.txt")
    assert process.communicate() == ("", "Error: There is no file or folder no-such.txt: check its name.\n")
    assert process.returncode == 2


def test_using_a_run_does_not_import_torch_s_compiler(trained, work):
    """Filling a tensor on the meta device imports all of it, and doubles the time until the first word is there."""
    code = f"import sys, lmkit; lmkit.load({str(trained)!r}).sample(length=2); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "False\n", done.stderr


@needs_fork
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_saves_the_run_and_ends_it(start, cli, work, number):
    process = start(*ENDLESS, "--eval-every", "20", "--out", "run")
    wait_for(process, "run run")
    refused = cli("train", "--corpus", "text.txt", "--max-steps", 1, "--threads", 1, "--out", "run")
    assert refused.code == 2, "a second training in the same folder"
    assert "exists" in refused.stderr
    refused = cli("train", "--resume", "run")
    assert refused.code == 2, "a second training of the same run"
    assert "another training is writing" in refused.stderr
    wait_for(process, "step ")
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert "To continue: lmkit train --resume run" in stderr
    assert stdout == "run run\n"
    assert cli("sample", "run", "--length", 3).code == 0
    assert {path.name for path in work.iterdir()} == {"text.txt", "run"}
    step = int(stderr.split("stopped after ")[1].split(" step")[0].replace(",", ""))
    assert (work / "run" / "checkpoints" / f"step-{step:08d}").is_dir()
    resumed = cli("train", "--resume", "run", "--max-steps", step + 3)
    assert resumed.code == 0, resumed.stderr
    assert f"resumed at step {step:,}" in resumed.stderr
    assert "test perplexity" in resumed.stdout


def signal_at(part: type, method: str, number: int) -> None:
    """A signal comes at the beginning of a method of a part of the session, once."""
    original = getattr(part, method)

    def signalled(self: Any, *rest: Any, **options: Any) -> Any:
        setattr(part, method, original)  # a second signal would quit at once
        os.kill(os.getpid(), number)
        return original(self, *rest, **options)

    setattr(part, method, signalled)


@needs_fork
def test_a_signal_before_a_measurement_ends_the_run_and_a_resume_is_exact(cli, work):
    """The measurement that follows is not begun: it may take long, and is done by the resume."""
    options = ["--corpus", "text.txt", "--max-steps", "20", "--eval-every", "8"]
    assert cli(*TRAIN, *options, "--out", "whole").code == 0
    parts = {"validate": TextMeasurements, "keep_last": BestModel, "take": BestModel, "close": TextMeasurements}
    numbers = [signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM]
    for (method, part), number in zip(parts.items(), numbers, strict=True):
        with open(work / f"{method}.txt", "wb") as output, open(work / "stderr.txt", "ab") as log:
            arguments, before = [*TRAIN, *options, "--out", method], partial(signal_at, part, method, number)
            child = forks.start(arguments, work, stdout=output.fileno(), stderr=log.fileno(), before=before)
        assert forks.ended(child) == 128 + number
    said = (work / "stderr.txt").read_text(encoding="utf-8")
    for method in parts:
        stopped_at = 8 if method == "validate" else 20
        assert f"Stopping at step {stopped_at}: saving." in said
        assert (work / f"{method}.txt").read_text(encoding="utf-8") == f"run {method}\n", "nothing was measured"
        kinds = [record["kind"] for record in records(work / method)]
        assert kinds.count("evaluation") == (0 if method == "validate" else 3)
        assert "final" not in kinds
        resumed = cli("train", "--resume", method)
        assert resumed.code == 0, resumed.stderr
        assert "test perplexity" in resumed.stdout
        for name in ("model.safetensors", "metrics.jsonl", "checkpoints/step-00000020/training.safetensors"):
            assert (work / method / name).read_bytes() == (work / "whole" / name).read_bytes(), (method, name)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@needs_fork
def test_ctrl_c_before_the_first_validation_keeps_the_last_model(start, cli, work):
    process = start(*ENDLESS, "--eval-every", "10000000", "--out", "run")
    stdout, stderr = interrupted(process, "run run")
    if stdout:  # pressed after the set-up
        step = int(stderr.split("stopped after ")[1].split(" step")[0].replace(",", ""))
        assert cli("train", "--resume", "run", "--max-steps", step + 1).code == 0
        assert cli("eval", "run", "--threads", 1).code == 0
        assert cli("sample", "run", "--length", 3).code == 0
    assert {path.name for path in work.iterdir()} <= {"text.txt", "run"}


@needs_fork
def test_a_second_ctrl_c_quits_at_once(start, cli, work):
    process = start(*ENDLESS, "--eval-every", "20", "--out", "run")
    wait_for(process, "step ")
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopping")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert cli("sample", "run", "--length", 3).code == 0


@pytest.mark.slow
@needs_fork
def test_a_killed_training_leaves_a_run_that_loads(start, cli, work):
    process = start(*ENDLESS, "--eval-every", "5", "--out", "run")
    wait_for(process, "step ")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cli("eval", "run", "--threads", 1).code == 0
    assert cli("info", "run").code == 0


def unread(command: list[str], work: Path, *, errors_too: bool = False) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output, or both, is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    log = work / "stderr.txt"
    with open(log, "wb") as file:
        child = forks.start(command, work, stdout=writing, stderr=writing if errors_too else file.fileno())
    os.close(writing)
    return forks.ended(child), log.read_text(encoding="utf-8")


@needs_fork
def test_a_pipe_that_nobody_reads_ends_a_command_quietly(trained, work):
    run = str(trained)
    (work / "list.txt").write_text("1\t-1\tThe cat.\n", encoding="utf-8")
    commands: list[list[str]] = [
        ["--help"],
        ["--version"],
        ["corpora", "--json"],
        ["info", run],
        ["eval", run, "--threads", "1"],
        ["eval", run, "--threads", "1", "--json"],
        ["score", run, "text.txt", "--threads", "1", "--per", "word", "--json"],
        ["score", run, "--nbest", "list.txt", "--threads", "1"],
        ["compare", run, run, "--file", "text.txt", "--threads", "1", "--json"],
        ["sample", run, "--length", "2000"],
        ["tokenize", "text.txt"],
        [*TRAIN, "--corpus", "text.txt", "--max-steps", "2", "--out", "run"],
        [*TRAIN, "--corpus", "text.txt", "--max-steps", "2", "--out", "quiet", "--json"],
    ]
    found = {" ".join(command): unread(command, work) for command in commands}
    assert [command for command, (code, _) in found.items() if code != 0] == []
    for word in ("Traceback", "BrokenPipe", "Exception ignored", "Error"):
        assert [command for command, (_, said) in found.items() if word in said] == []
    for name in ("run", "quiet"):
        assert (work / name / "model.safetensors").is_file()


@needs_fork
def test_a_training_whose_progress_nobody_reads_still_leaves_a_model(work):
    command = [*TRAIN, "--corpus", "text.txt", "--max-steps", "2", "--out", "run"]
    assert unread(command, work, errors_too=True) == (0, "")
    assert (work / "run" / "model.safetensors").is_file()


def test_text_is_written_as_utf8_whatever_the_system_s_encoding_is(trained, work):
    """As on Windows, where a redirected output is not UTF-8."""
    done = subprocess.run(
        [sys.executable, "-m", "lmkit", "sample", str(trained), "--prompt", "Привет 👋", "--length", "3"],
        cwd=work,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8").startswith("Привет 👋")
