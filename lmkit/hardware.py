"""Where it runs: device, precision, threads and the allocator. All of it from fixed tables, never from a timing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = [
    "choose_device",
    "choose_threads",
    "cpu_name",
    "describe_cpu",
    "has_fast_bfloat16",
    "keep_freed_memory",
    "memory_size",
    "wait_politely",
]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h
TRIM_THRESHOLD = 2**31 - 1
SPIN_COUNT = "10000"


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of giving it back to the system.

    Training frees and takes the same large buffers at each step; each time they come back from the system their pages
    are zeroed and mapped anew. Call it before torch is imported. Elsewhere than on glibc it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    # not M_MMAP_THRESHOLD: glibc allows it 32 MiB at most, and the gradient of an embedding is larger
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def wait_politely() -> None:
    """Let threads that wait for each other go to sleep sooner.

    A step of training makes its threads meet thousands of times. GNU OpenMP lets those that wait spin; if another
    program has one of the cores, they spin while the thread that they wait for is not running, and training becomes
    many times slower. A shorter spin costs almost nothing on an idle machine. Call it before torch is imported; a
    setting of the user's is left alone.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


def choose_device(name: str) -> torch.device:
    """The device of a name (auto, cpu, cuda, mps). Raises ConfigError if it is not there."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(candidate for candidate, there in present.items() if there)
    if name not in present:
        raise ConfigError(f"There is no device {name}: use auto, {', '.join(present)}.")
    if not present[name]:
        raise ConfigError(f"--device {name} cannot be used: {_why_absent(name)}. Use --device cpu.")
    if name == "cuda":
        _compute_exactly()
    return torch.device(name)


def _compute_exactly() -> None:
    """Have a CUDA device compute float32 in float32, and the same bits in every run.

    By itself cuDNN rounds the inputs of an LSTM's products to TensorFloat-32, ten bits of mantissa, and sums of
    gradients come in the order in which their threads happen to end, those of fused attention among them. A warning and
    not an error where torch has no deterministic kernel: sampling needs a cumulative sum, which torch calls
    nondeterministic whatever its length. No warning where weights are not in one memory: those of a window with weight
    drop cannot be.
    """
    import torch

    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the device is first used
    warnings.filterwarnings("ignore", message="cumsum_cuda_kernel")
    warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
    torch.backends.cuda.enable_flash_sdp(enabled=False)
    torch.backends.cuda.enable_mem_efficient_sdp(enabled=False)
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _why_absent(name: str) -> str:
    import torch

    if name == "mps":
        return "no Apple GPU found"
    return "no CUDA GPU found" + (" (this torch is built without CUDA)" if torch.version.cuda is None else "")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: without them it is emulated and slower than float32."""
    import torch

    if device.type == "cpu":
        return any(_features().values())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def choose_threads(threads: int | None, processes: int = 1) -> int:
    """Threads to compute with: the given number, else OMP_NUM_THREADS, else the physical cores that this process may
    use, or its share of them where so many processes use them.
    """
    if threads is not None:
        return threads
    wished = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list is for nested regions
    if wished.isdigit() and int(wished) > 0:
        return int(wished)
    return max(1, min(_physical_cores(), _quota()) // processes)


def cpu_name() -> str:
    """The processor's model name as the system reports it."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_cpu() -> str:
    """One line for reports: name, cores, and the vector instructions that torch uses."""
    import torch

    extra = [name for name, there in _features().items() if there]
    capability = " ".join([torch.backends.cpu.get_cpu_capability(), *extra])
    cores = _physical_cores()
    return f"{cpu_name()}, {cores} core{'s' if cores > 1 else ''} ({capability})"


def memory_size(device: torch.device | None = None) -> int | None:
    """Bytes of memory of a CUDA device, else those that the machine has and a container's limit allows (Linux control
    groups, version 2). None where the system does not say.
    """
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        present = min(present, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return present


def _features() -> dict[str, bool]:
    flags = next((line for line in _cpuinfo() if line.startswith(("flags", "Features"))), "").split()
    return {"AVX512-BF16": "avx512_bf16" in flags, "AMX-BF16": "amx_bf16" in flags, "BF16": "bf16" in flags}


def _physical_cores() -> int:
    """Distinct cores behind the processors that this process may run on; hyper-threads share one."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores, processor, package = set(), -1, "0"
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        match key.strip():
            case "processor":
                processor, package = int(value), "0"
            case "physical id":
                package = value.strip()
            case "core id" if processor in allowed:
                cores.add((package, value.strip()))
    return len(cores) or len(allowed)


def _quota() -> int:
    """Whole processors that a container's CPU limit allows (Linux control groups, version 2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return sys.maxsize


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
