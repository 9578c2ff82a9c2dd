"""The search for duplicates among many pictures, against one that compares each with each."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import scene

from lit_gen import duplicates
from lit_gen.duplicates import PerceptualHash, first_equal, first_near


def one_by_one(hashes: np.ndarray, near: int) -> np.ndarray:
    alike = np.bitwise_count(hashes[:, None] ^ hashes) <= near
    alike &= np.tri(len(hashes), k=-1, dtype=bool)
    return np.where(alike.any(1), alike.argmax(1), -1)


@pytest.mark.parametrize("near", [0, 1, 6, 15, 16, 63])
def test_near_as_each_with_each(near: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(near)
    hashes = random.integers(0, 2**64, 600, dtype=np.uint64)
    for row in range(0, 600, 3):  # copies with 0 to 20 bits turned over, in any band
        bits = random.choice(64, row % 21, replace=False).astype(np.uint64)
        hashes[row] = hashes[random.integers(600)] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    expected = one_by_one(hashes, near)
    assert (expected >= 0).any()
    assert np.array_equal(first_near(hashes, near), expected)
    monkeypatch.setattr(duplicates, "PAIRS", 1)
    assert np.array_equal(first_near(hashes, near), expected)


@pytest.mark.parametrize("near", [1, 6, 15])
def test_bits_that_differ_all_over_are_found(near: int) -> None:
    """One in each of `near` bands: with one band more, the hashes still agree in one."""
    bits = np.array([64 * band // near for band in range(near)], dtype=np.uint64)
    other = np.bitwise_or.reduce(np.uint64(1) << bits)
    assert first_near(np.array([0, other], dtype=np.uint64), near).tolist() == [-1, 0]
    assert first_near(np.array([0, other], dtype=np.uint64), near - 1).tolist() == [-1, -1]


def test_equal_ones_name_the_first() -> None:
    assert first_equal(np.array([7, 5, 7, 7, 5, 9], dtype=np.uint64)).tolist() == [-1, -1, 0, 0, 1, -1]
    assert first_near(np.array([7, 7], dtype=np.uint64), 0).tolist() == [-1, 0]
    assert len(first_equal(np.empty(0, dtype=np.uint64))) == len(first_near(np.empty(0, dtype=np.uint64), 6)) == 0


def test_a_hash_goes_by_looks() -> None:
    hashing = PerceptualHash(6, "doctor")
    same, other, small = hashing(scene(0)), hashing(scene(1)), hashing(scene(0, side=200).resize((50, 50)))
    assert np.bitwise_count(same ^ small) <= 6 < np.bitwise_count(same ^ other)
