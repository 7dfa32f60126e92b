"""Hashes of lines: the same alone, among others and in parts."""

from __future__ import annotations

import numpy as np
import pytest

from lmkit.text.line_hash import OpenLine, hash_lines

LENGTHS = [*range(40), 63, 64, 65, 255, 256, 257, 1000]


@pytest.fixture
def data() -> bytes:
    return np.random.default_rng(1).integers(256, size=2000, dtype=np.uint8).tobytes()


def hashed(data: bytes, lengths: list[int], start: int = 3) -> list[int]:
    starts = np.full(len(lengths), start)
    return hash_lines(data, starts, starts + np.array(lengths)).tolist()


def test_a_line_has_one_hash_whatever_is_hashed_with_it(data):
    together = hashed(data, LENGTHS)
    assert together == [hashed(data, [length])[0] for length in LENGTHS]
    assert together[20:] == hashed(data, LENGTHS[20:])
    assert hashed(data[3 : 3 + 40], LENGTHS[:40], start=0) == together[:40]  # whatever stands behind it


def test_a_line_in_parts_has_the_hash_of_the_whole(data):
    for length, expected in zip(LENGTHS, hashed(data, LENGTHS), strict=True):
        for cut in {0, 1, length // 2, max(0, length - 1), length}:
            line = OpenLine()
            line.extend(data[3 : 3 + min(cut, length)])
            line.extend(data[3 + min(cut, length) : 3 + length])
            assert line.hash().tolist() == [expected]


def test_other_lines_have_other_hashes(data):
    assert len(set(hashed(data, LENGTHS))) == len(LENGTHS)
    changed = {bytes(byte ^ (place == at) for place, byte in enumerate(data[:300])) for at in range(300)}
    for length in (40, 300):
        assert len({hashed(line, [length], start=0)[0] for line in changed}) == length + (length < 300)


def test_no_lines_have_no_hashes(data):
    assert hashed(data, []) == []
