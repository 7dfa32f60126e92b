"""Device, precision and threads come from fixed tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from lmkit import hardware
from lmkit.errors import ConfigError
from lmkit.hardware import (
    choose_device,
    choose_threads,
    cpu_name,
    describe_cpu,
    has_fast_bfloat16,
    keep_freed_memory,
)
from tests import forks

FLAGS = "flags\t\t: fpu sse avx2 {}"
TWO_CORES = "\n".join(
    f"processor\t: {processor}\nphysical id\t: {package}\ncore id\t\t: {core}\nmodel name\t: Test CPU 3000\n"
    for processor, package, core in [(0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 1)]
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend another processor and another set of processors to run on."""

    def pretend(cpuinfo: str, allowed: set[int], quota: int = 1000) -> None:
        monkeypatch.setattr(hardware, "_cpuinfo", lambda: cpuinfo.splitlines())
        monkeypatch.setattr(hardware, "_quota", lambda: quota)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed, raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    return pretend


def test_the_processor_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"--device {name} .*no {'CUDA' if name == 'cuda' else 'Apple'} GPU found"):
        choose_device(name)
    assert choose_device("auto").type == "cpu"


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="tpu"):
        choose_device("tpu")


@pytest.mark.parametrize(
    ("flags", "fast"), [("", False), ("avx512f", False), ("avx512_bf16", True), ("amx_bf16", True), ("bf16", True)]
)
def test_bfloat16_is_fast_where_the_processor_has_instructions_for_it(machine, flags: str, fast: bool):
    machine(FLAGS.format(flags), {0})
    assert has_fast_bfloat16(torch.device("cpu")) == fast


def test_threads_are_the_physical_cores_that_may_be_used(machine):
    machine(TWO_CORES, {0, 1, 2, 3})
    assert choose_threads(None) == 2
    machine(TWO_CORES, {0, 2})  # two threads of one core
    assert choose_threads(None) == 1
    machine(TWO_CORES, {0, 1, 2, 3}, quota=1)
    assert choose_threads(None) == 1
    machine("", {0, 1, 2})  # a system that tells nothing
    assert choose_threads(None) == 3


def test_threads_can_be_chosen(machine, monkeypatch: pytest.MonkeyPatch):
    machine(TWO_CORES, {0, 1, 2, 3})
    assert choose_threads(7) == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads(None) == 3
    assert choose_threads(7) == 7
    for ignored in ("", "many", "0", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", ignored)
        assert choose_threads(None) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")  # OpenMP's own way to say: three outside, two inside
    assert choose_threads(None) == 3


def test_the_processor_has_a_name(machine):
    assert cpu_name()
    assert "core" in describe_cpu()
    machine(TWO_CORES, {0, 1})
    assert cpu_name() == "Test CPU 3000"
    assert describe_cpu().startswith("Test CPU 3000, 2 cores (")
    machine("", {0})
    assert cpu_name(), "the platform's own word"


def test_one_core_is_no_cores(machine):
    machine("model name\t: Test CPU", {0})
    assert "1 core (" in describe_cpu()


def test_keeping_memory_does_no_harm_twice():
    keep_freed_memory()
    keep_freed_memory()
    assert float(torch.ones(1000, 1000).sum()) == 1e6


def choose_a_gpu() -> None:
    torch.cuda.is_available = lambda: True
    assert choose_device("auto").type == "cuda"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.rnn.fp32_precision == "ieee"  # type: ignore[attr-defined]
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.flash_sdp_enabled()


def test_a_cuda_device_computes_true_float32_and_the_same_bits_in_every_run(tmp_path: Path):
    said = tmp_path / "said"
    with open(said, "wb") as err:  # in a child: these are settings of a whole process
        child = forks.start(choose_a_gpu, tmp_path, stderr=err.fileno())
    assert forks.ended(child) == 0, said.read_text(encoding="utf-8")
