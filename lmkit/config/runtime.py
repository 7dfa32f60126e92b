"""The section of the runtime: where and how exactly it is computed, and from which seeds."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.fields import Section, option

__all__ = ["PLACEMENT", "RuntimeConfig"]

PLACEMENT = ("device", "precision", "threads")  # of RuntimeConfig: --allow-inexact may change them


@dataclass(frozen=True)
class RuntimeConfig(Section):
    """Where and how exactly it is computed."""

    seed: int = option(1, "Seed of everything random.", flags=("--seed", "--random-seed"), minimum=0, below=2**31)
    init_seed: int | None = option(
        None, "Seed of the first weights and of dropout (default: --seed).", minimum=0, below=2**31
    )
    data_seed: int | None = option(
        None, "Seed of the order in which the text is read (default: --seed).", minimum=0, below=2**31
    )
    device: str = option("auto", "Device.", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = option(
        "auto",
        "Arithmetic of training (auto: bfloat16 where the processor has instructions for it).",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    threads: int | None = option(None, "Threads on the CPU (default: its physical cores).", minimum=1, maximum=1024)

    @property
    def weights_seed(self) -> int:
        """The seed of the first weights and of dropout, with the default filled in."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def order_seed(self) -> int:
        """The seed of the order of the windows, with the default filled in."""
        return self.seed if self.data_seed is None else self.data_seed
