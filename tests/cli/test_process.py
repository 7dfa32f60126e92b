"""lmkit as a program of its own: signals, pipes, encodings, and what a shell sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TRAIN = ["train", "--hidden-size", "8", "--batch-size", "4", "--window", "16", "--threads", "1"]
ENDLESS = [*TRAIN, "--corpus", "text.txt", "--max-steps", "10000000"]
GRACE = 120  # seconds after which something hangs

Start = Callable[..., subprocess.Popen[str]]

# Imports lmkit once, then runs each command in a fork of its own with standard output (and error) into a pipe that
# nobody reads. sys.argv: a JSON list of [command, merge]; prints the exit codes.
CLOSED_PIPES = """
import gc, json, os, sys
import lmkit.api, lmkit.cli, lmkit.console.tables, lmkit.console.training
import torch._dynamo  # slow to import, and torch does it behind the scenes: once here, not in each child
codes = []
gc.freeze()  # a child that ends need not tidy up what it shares with its parent
for arguments, merge in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        if merge:
            os.dup2(writing, 2)
        lmkit.cli.main(arguments, prog_name="lmkit")
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


# As above, with a signal at the beginning of a method of a part of the session. sys.argv[1]: a list of
# [part.method, signal, command].
SIGNALLED = """
import gc, json, os, signal, sys
import lmkit.api, lmkit.cli, lmkit.console.training
from lmkit.session.best_model import BestModel
from lmkit.session.measurements import Measurements
PARTS = {"best": BestModel, "measurements": Measurements}
codes = []
gc.freeze()
for method, number, arguments in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.signal(number, signal.SIG_DFL)  # who runs the tests may have it ignored
        part, name = method.split(".")
        original = getattr(PARTS[part], name)
        def signalled(self, *rest, **options):
            setattr(PARTS[part], name, original)  # a second signal would quit at once
            os.kill(os.getpid(), number)
            return original(self, *rest, **options)
        setattr(PARTS[part], name, signalled)
        output = os.open(method + ".txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        lmkit.cli.main(arguments, prog_name="lmkit")
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


@pytest.fixture
def start(work: Path) -> Iterator[Start]:
    """Start ``python -m lmkit``; what still runs at the end of a test is killed."""
    running: list[subprocess.Popen[str]] = []

    def call(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "lmkit", *arguments],
            cwd=work,
            env={**os.environ, "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        running.append(process)
        return process

    yield call
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], begin: str) -> None:
    """Read standard error until a line begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(begin):
            return
    pytest.fail(f"lmkit ended before it said {begin!r}: exit code {process.wait()}")


def interrupted(process: subprocess.Popen[str], begin: str) -> tuple[str, str]:
    """Press Ctrl-C when a line begins so; give standard output and the rest of standard error."""
    wait_for(process, begin)
    process.send_signal(signal.SIGINT)
    outputs = process.communicate(timeout=GRACE)
    assert process.returncode == 130, outputs
    assert "Traceback" not in outputs[1]
    return outputs


needs_signals = pytest.mark.skipif(os.name != "posix", reason="Ctrl-C cannot be sent to a child process here")


def test_train_eval_and_sample_work_one_after_the_other(process, work):
    trained = process(*TRAIN, "--corpus", "-", "--max-steps", 3, "--json", cwd=work, input="The cat sat.\n" * 200)
    assert trained.returncode == 0, trained.stderr
    run = json.loads(trained.stdout)["run"]
    assert Path(run) == Path("runs", "stdin-1")
    (work / "elsewhere").mkdir()
    (work / "other.txt").write_text("The cat sat.\n", encoding="utf-8")
    measured = process("eval", work / run, "--file", "../other.txt", "--json", "--threads", 1, cwd=work / "elsewhere")
    assert json.loads(measured.stdout)["tokens"] == 13
    assert measured.stderr == ""
    sampled = process("sample", run, "--length", 5, "--prompt", "The", cwd=work)
    assert sampled.stdout.startswith("The")
    assert sampled.stderr == ""


def test_a_mistake_is_one_line_and_exit_code_2(process, work):
    done = process("train", "--corpus", "no-such.txt", cwd=work)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "Error: There is no file or folder no-such.txt: check its name.\n"


def test_using_a_run_does_not_import_torch_s_compiler(trained, work):
    """Filling a tensor on the meta device imports all of it, and doubles the time until the first word is there."""
    code = f"import sys, lmkit; lmkit.load({str(trained)!r}).sample(length=2); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "False\n", done.stderr


@needs_signals
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
    stdout, stderr = process.communicate(timeout=GRACE)
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_signal_before_a_measurement_ends_the_run_and_a_resume_is_exact(cli, work):
    """The measurement that follows is not begun: it may take long, and is done by the resume."""
    options = ["--corpus", "text.txt", "--max-steps", "20", "--eval-every", "8"]
    assert cli(*TRAIN, *options, "--out", "whole").code == 0
    methods = ["measurements.validate", "best.keep_last", "best.take", "measurements.close"]
    numbers = [signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM]
    calls = [[name, number, [*TRAIN, *options, "--out", name]] for name, number in zip(methods, numbers, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, json.dumps(calls)],
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert json.loads(done.stdout) == [128 + number for number in numbers], done.stderr
    for method in methods:
        stopped_at = 8 if method == "measurements.validate" else 20
        assert f"Stopping at step {stopped_at}: saving." in done.stderr
        assert (work / f"{method}.txt").read_text(encoding="utf-8") == f"run {method}\n", "nothing was measured"
        kinds = [record["kind"] for record in records(work / method)]
        assert kinds.count("evaluation") == (0 if method == "measurements.validate" else 3)
        assert "final" not in kinds
        resumed = cli("train", "--resume", method)
        assert resumed.code == 0, resumed.stderr
        assert "test perplexity" in resumed.stdout
        for name in ("model.safetensors", "metrics.jsonl", "checkpoints/step-00000020/training.safetensors"):
            assert (work / method / name).read_bytes() == (work / "whole" / name).read_bytes(), (method, name)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@needs_signals
def test_ctrl_c_before_the_first_validation_keeps_the_last_model(start, cli, work):
    process = start(*ENDLESS, "--eval-every", "10000000", "--out", "run")
    stdout, stderr = interrupted(process, "run run")
    if stdout:  # pressed after the set-up
        step = int(stderr.split("stopped after ")[1].split(" step")[0].replace(",", ""))
        assert cli("train", "--resume", "run", "--max-steps", step + 1).code == 0
        assert cli("eval", "run", "--threads", 1).code == 0
        assert cli("sample", "run", "--length", 3).code == 0
    assert {path.name for path in work.iterdir()} <= {"text.txt", "run"}


@needs_signals
def test_a_second_ctrl_c_quits_at_once(start, cli, work):
    process = start(*ENDLESS, "--eval-every", "20", "--out", "run")
    wait_for(process, "step ")
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopping")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=GRACE)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert cli("sample", "run", "--length", 3).code == 0


@pytest.mark.slow
@needs_signals
def test_a_killed_training_leaves_a_run_that_loads(start, cli, work):
    process = start(*ENDLESS, "--eval-every", "5", "--out", "run")
    wait_for(process, "step ")
    process.kill()
    process.wait(timeout=GRACE)
    assert cli("eval", "run", "--threads", 1).code == 0
    assert cli("info", "run").code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
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
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_PIPES, json.dumps([[command, False] for command in commands])],
        cwd=work,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    codes = json.loads(done.stdout)
    assert not [" ".join(command) for command, code in zip(commands, codes, strict=True) if code != 0]
    for word in ("Traceback", "BrokenPipe", "Exception ignored", "Error"):
        assert word not in done.stderr
    for name in ("run", "quiet"):
        assert (work / name / "model.safetensors").is_file()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_whose_progress_nobody_reads_still_leaves_a_model(work):
    command = [*TRAIN, "--corpus", "text.txt", "--max-steps", "2", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_PIPES, json.dumps([[command, True]])],
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert json.loads(done.stdout) == [0]
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
