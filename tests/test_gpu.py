"""What lmkit promises on a CPU, on a CUDA GPU: the same numbers, the same texts, and runs that resume to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit.cli import main
from lmkit.config import Config, ModelConfig
from lmkit.doctor.check import FAILED
from lmkit.doctor.run.run import check_run
from lmkit.hardware import choose_device
from lmkit.model.cells import CELLS
from lmkit.model.language_model import LanguageModel
from lmkit.model.precision import computes_in
from lmkit.session.session import Session
from lmkit.training.step import StepRecord, take_step

if not torch.cuda.is_available():
    pytest.skip("no CUDA GPU", allow_module_level=True)

OPTIONS: dict[str, Any] = {
    "hidden_size": 64,
    "num_layers": 2,
    "batch_size": 8,
    "window": 16,
    "device": "cuda",
    "precision": "float32",
    "max_steps": 60,
    "eval_every": 25,
    "checkpoint_seconds": 0.0,
}
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "to", "tree"]
KINDS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "lstm", "precision": "bfloat16", "optimizer": "sgd", "lr": 1.0},
    {"cell": "lstm", "precision": "float16"},
    {"cell": "gru", "sampler": "random"},
    {"cell": "lstm", "tokenizer": "word", "head": "adaptive", "cutoffs": (4,), "tie_embeddings": True},
    {"cell": "lnlstm", "locked_dropout": True},
    {"cell": "mingru", "documents": "line", "sampler": "document"},
    {"cell": "mlstm", "on_nonfinite": "skip", "skip_spikes": True},
    {"cell": "gru", "optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "average": "ema"},
    {"cell": "lstm", "optimizer": "adam", "average": "swa", "average_start": 0.3, "accumulate": 3},
    {"cell": "lstm", "optimizer": "muon", "muon_lr": 0.01},
    {"cell": "rnn", "optimizer": "adagrad"},
    {
        "cell": "lstm",
        "optimizer": "sgd",
        "lr": 5.0,
        "average": "nt-asgd",
        "average_n": 1,
        "eval_every": 10,
        "weight_drop": 0.5,
        "embedding_type_dropout": 0.1,
        "locked_dropout": True,
        "ar_alpha": 2.0,
        "tar_beta": 1.0,
        "window_jitter": 1,
    },
    {"cell": "irnn", "optimizer": "adam"},
    {"cell": "gru", "freeze": ("layers.0",), "unfreeze_every": 15, "lr_decay_per_layer": 2.0},
    {"cell": "gru", "zoneout": 0.1, "weight_drop": 0.4, "drop_state": 0.2},
    {"cell": "transformer", "context": 20},
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(3)
    lines = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 7))) + ".\n" for _ in range(600)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(lines), encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained run."""
    path = tmp_path_factory.mktemp("runs") / "trained"
    finish(Session(Config().override({**OPTIONS, "corpus": str(text)}), path))
    return path


def finish(session: Session) -> None:
    with closing(session.records()) as records:
        for _ in records:
            pass
    session.close()


def stop_at(session: Session, step: int) -> None:
    with closing(session.records()) as records:
        assert any(isinstance(record, StepRecord) and record.step >= step for record in records)
    session.stop()


def contents(run: Path) -> dict[str, bytes]:
    """All of a run that is a function of its options: weights, metrics, the last checkpoint without its clocks."""
    last = max((run / "checkpoints").glob("step-*"))
    kept = [path for path in last.iterdir() if path.name not in ("clock.json", "manifest.json")]
    kept += [run / "model.safetensors", run / "metrics.jsonl"]
    return {path.name: path.read_bytes() for path in kept}


def network(cell: str) -> tuple[LanguageModel, LanguageModel]:
    """The same network on the CPU and on the GPU."""
    torch.manual_seed(5)
    on_cpu = LanguageModel(ModelConfig(cell=cell, hidden_size=64, num_layers=2, dropout=0.0), vocab_size=50)
    on_gpu = LanguageModel(ModelConfig(cell=cell, hidden_size=64, num_layers=2, dropout=0.0), vocab_size=50)
    on_gpu.load_state_dict(on_cpu.state_dict())
    return on_cpu.eval(), on_gpu.to(choose_device("cuda")).eval()


@pytest.mark.parametrize("cell", CELLS)
def test_window_and_steps_on_the_gpu_are_those_of_the_cpu(cell: str):
    on_cpu, on_gpu = network(cell)
    tokens = torch.randint(50, (3, 40))
    with torch.no_grad():
        expected, _ = on_cpu(tokens, on_cpu.initial_state(3))
        whole, _ = on_gpu(tokens.cuda(), on_gpu.initial_state(3))
        state, steps = on_gpu.initial_state(3), []
        for position in range(40):
            logits, state = on_gpu(tokens[:, position : position + 1].cuda(), state)
            steps.append(logits)
    torch.testing.assert_close(whole.cpu(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat(steps, 1).cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_on_the_gpu_are_those_of_the_cpu(cell: str):
    on_cpu, on_gpu = network(cell)
    tokens = torch.randint(50, (3, 41))
    for model in (on_cpu.train(), on_gpu.train()):
        device = model.embedding.weight.device
        nll, _ = model.nll_sum(tokens[:, :-1].to(device), tokens[:, 1:].to(device), model.initial_state(3))
        (nll / 120).backward()
    for one, other in zip(on_cpu.parameters(), on_gpu.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-4, atol=1e-6)


def test_perplexity_on_the_gpu_is_that_of_the_cpu_for_any_window(run: Path, text: Path):
    words = text.read_text(encoding="utf-8")[:3000]
    on_cpu = lmkit.load(run, device="cpu").evaluate(words).nll
    model = lmkit.load(run, device="cuda")
    for window in (3, 64, 1000):
        assert model.evaluate(words, window=window).nll == pytest.approx(on_cpu, rel=1e-5)


def test_surprisals_on_the_gpu_are_those_of_the_cpu(run: Path, text: Path):
    words = text.read_text(encoding="utf-8")[:500]
    on_cpu, on_gpu = (lmkit.load(run, device=device).score(words) for device in ("cpu", "cuda"))
    expected = [token.log_prob for token in on_cpu]
    assert [token.log_prob for token in on_gpu] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_seed_gives_one_text_alone_and_in_company(run: Path):
    def sampled(num: int) -> str:
        arguments = ["sample", str(run), "--device", "cuda", "--num", str(num), "--length", "60", "--seed", "4"]
        return CliRunner().invoke(main, arguments, catch_exceptions=False).stdout

    alone = sampled(1)
    assert alone == sampled(1)
    assert alone.strip() in sampled(5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(str(value) for value in [*kind.values()][:4]))
def test_a_stopped_run_becomes_the_uninterrupted_one(text: Path, tmp_path: Path, kind: dict[str, Any]):
    config = Config().override({**OPTIONS, **kind, "corpus": str(text)})
    finish(Session(config, tmp_path / "whole"))
    stop_at(Session(config, tmp_path / "stopped"), 33)
    torch.rand(3, device="cuda")  # what this process has drawn before does not matter
    finish(Session.resume(tmp_path / "stopped"))
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_the_mean_of_steps_that_run_ahead_is_that_of_their_weights(text: Path, tmp_path: Path):
    """Steps as graphs, none of them read, and one that is left out."""
    options = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "average": "ema", "average_decay": 0.9}
    config = Config().override({**OPTIONS, **options, "on_nonfinite": "skip", "corpus": str(text)})
    session = Session(config, tmp_path / "run")
    train, update, average = session.train, session.setup.make_update(), session.train.average
    assert update.read_every > 1 and average is not None
    expected: list[torch.Tensor] = []
    for step, window in enumerate(islice(session.sampler.epoch(0), 12), 1):
        average.before_step(train.model, train.step, 0.0)
        take_step(train, window, update, lr=0.1, targets_per_window=1e-45 if step == 9 else 128.0)
        weights = torch.cat([one.detach().flatten() for one in train.model.parameters()]).double().cpu()
        if step == 9:
            assert weights.equal(expected[-1])
            continue
        expected.append(weights)
    session.release()
    factors = [0.1 * 0.9**number / (1 - 0.9 ** len(expected)) for number in reversed(range(len(expected)))]
    mean = torch.cat([one.flatten() for one in train.measured.parameters()]).double().cpu()
    torch.testing.assert_close(mean, sum(f * one for f, one in zip(factors, expected, strict=True)), rtol=0, atol=1e-6)


def test_a_killed_run_becomes_the_uninterrupted_one(text: Path, tmp_path: Path):
    arguments: list[str | Path] = [
        sys.executable,
        "-m",
        "lmkit",
        "train",
        text,
        "--device",
        "cuda",
        "--checkpoint-every",
        "50",
    ]
    arguments += ["--max-steps", "400", "--hidden-size", "64", "--eval-every", "100"]
    subprocess.run([*arguments, "--out", tmp_path / "whole"], check=True, capture_output=True)
    with subprocess.Popen([*arguments, "--out", tmp_path / "killed"], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list((tmp_path / "killed").glob("checkpoints/step-*150")):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    resume: list[str | Path] = [sys.executable, "-m", "lmkit", "train", "--resume", tmp_path / "killed"]
    subprocess.run(resume, check=True, capture_output=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_doctor_finds_nothing_wrong_with_a_run_of_a_gpu(run: Path):
    assert [check for check in check_run(run, device="cuda") if check.status == FAILED] == []


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_computes_in_half_the_bits(cell: str, precision: torch.dtype):
    assert computes_in(precision, choose_device("cuda"), ModelConfig(cell=cell))


@pytest.mark.parametrize(("cell", "optimizer"), [(cell, ("sgd", "adamw")[i % 2]) for i, cell in enumerate(CELLS)])
def test_a_step_that_is_a_graph_gives_the_bits_of_one_that_is_not(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, optimizer: str
):
    options = {**OPTIONS, "cell": cell, "optimizer": optimizer, "corpus": str(text), "max_steps": 30}
    session = Session(Config().override(options), tmp_path / "graphs")
    with closing(session.records()) as records:
        assert [record for record in records if isinstance(record, StepRecord)]
    assert session.train.graphs.graphs
    session.close()
    monkeypatch.setattr("lmkit.training.graphs.MAX_GRAPHS", 0)
    finish(Session(Config().override(options), tmp_path / "steps"))
    assert contents(tmp_path / "graphs") == contents(tmp_path / "steps")
