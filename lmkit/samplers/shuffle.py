"""A random order that is computed and not stored."""

from __future__ import annotations

import numpy as np

__all__ = ["Shuffle"]


class Shuffle:
    """A bijection of 0..size-1 keyed by (seed, epoch), computed number by number in constant memory.

    A balanced Feistel network over the next power of four, walked until it lands inside the range (Black & Rogaway
    2002, "Ciphers with arbitrary finite domains").
    """

    ROUNDS = 6

    def __init__(self, size: int, seed: int, epoch: int) -> None:
        self.size = size
        self.half_bits = max(1, -(-max(1, (size - 1).bit_length()) // 2))
        self.mask = (1 << self.half_bits) - 1
        keys = np.random.SeedSequence([seed, epoch, 0x5A]).generate_state(self.ROUNDS, np.uint64)
        self.keys = [int(key) for key in keys]

    def __call__(self, index: int) -> int:
        """Where the given number goes."""
        assert 0 <= index < self.size
        while True:
            left, right = index >> self.half_bits, index & self.mask
            for key in self.keys:
                left, right = right, left ^ (_mix(right ^ key) & self.mask)
            index = (left << self.half_bits) | right
            if index < self.size:
                return index


def _mix(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the result depends on every bit of the value."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)
