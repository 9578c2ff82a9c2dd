"""Held-out images stay held out; few-shot subsets are nested and in proportion."""

import numpy as np
import pytest

from datamodules import splits


def _many(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return splits.hash_keys(f"{label}/{index}" for index, label in enumerate(labels)), labels


def _carve(keys: np.ndarray, labels: np.ndarray, val: float = 0.1, test: float = 0.1) -> np.ndarray:
    return splits.carve(keys, labels, np.zeros(len(labels), dtype=np.int8), val, test)


def test_hashes_never_change() -> None:
    # A change would move images between splits of published checkpoints.
    keys = splits.hash_keys(["cat/0.jpg", b"\x00\x01"])
    assert keys.tolist()[0] == 2068444478964862276
    # splitmix64's published first output for the state 0
    assert splits.reseed(np.zeros(1, dtype=np.uint64), 0).tolist() == [0xE220A8397B1DCDAF]


def test_carve_is_exact_in_every_class() -> None:
    keys, labels = _many((500, 40, 10))
    parts = _carve(keys, labels)
    for label, size in enumerate((500, 40, 10)):
        assert np.bincount(parts[labels == label]).tolist() == [size * 8 // 10, size // 10, size // 10]


def test_a_new_image_moves_at_most_one_other_per_split() -> None:
    keys, labels = _many((300,))
    before = _carve(keys[1:], labels[1:])
    assert (before != _carve(keys, labels)[1:]).sum() <= 2


def test_test_split_does_not_depend_on_val_fraction() -> None:
    keys, labels = _many((100, 50))
    assert np.array_equal(_carve(keys, labels, val=0.0) == splits.TEST, _carve(keys, labels, val=0.3) == splits.TEST)


def test_given_splits_are_kept() -> None:
    keys, labels = _many((100,))
    given = np.zeros(100, dtype=np.int8)
    given[:20] = splits.TEST
    parts = splits.carve(keys, labels, given, 0.25, 0.5)
    assert np.array_equal(parts == splits.TEST, given == splits.TEST)
    assert (parts == splits.VAL).sum() == 20


def test_copies_share_a_split() -> None:
    keys = splits.hash_keys(str(index // 4) for index in range(400))
    parts = _carve(keys, np.zeros(400, dtype=np.int64), 0.11, 0.1325)  # borders at 53 and 97
    assert (parts.reshape(100, 4) == parts.reshape(100, 4)[:, :1]).all()


def test_steady_splits_never_move_by_more_images() -> None:
    keys, labels = _many((4000, 2000))
    whole = splits.steady(keys, labels, np.zeros(6000, dtype=np.int8), 0.1, 0.2)
    few = splits.steady(keys[::7], labels[::7], np.zeros(858, dtype=np.int8), 0.1, 0.2)
    assert np.array_equal(whole[::7], few)
    assert np.abs(np.bincount(whole) / 6000 - [0.7, 0.1, 0.2]).max() < 0.02
    assert np.array_equal(whole == splits.TEST, keys / 2.0**64 < 0.2)
    unheld = splits.steady(keys, labels, np.zeros(6000, dtype=np.int8), 0, 0)
    assert not unheld.any()


def test_steady_splits_by_number_are_exact_and_keep_given_ones() -> None:
    keys, labels = _many((40, 20))
    given = np.zeros(60, dtype=np.int8)
    parts = splits.steady(keys, labels, given, 9, 6)
    assert np.bincount(parts).tolist() == [45, 9, 6]
    assert np.bincount(labels[parts == splits.VAL]).tolist() == [6, 3]
    given[:5] = splits.TEST
    parts = splits.steady(keys, labels, given, 7, 6)
    assert np.array_equal(parts == splits.TEST, given == splits.TEST)
    assert (parts == splits.VAL).sum() == 7


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63])
def test_few_shot_is_nested_and_in_proportion(seed: int) -> None:
    keys, labels = _many((600, 300, 100))
    previous: set[int] = set()
    for n_images in (10, 100, 500, 1000):
        chosen = splits.few_shot(keys, labels, n_images, seed)
        assert len(set(chosen.tolist())) == n_images
        assert previous <= set(chosen.tolist())
        assert np.abs(np.bincount(labels[chosen], minlength=3) - n_images * np.array([0.6, 0.3, 0.1])).max() <= 1
        previous = set(chosen.tolist())


def test_seeds_choose_differently() -> None:
    keys, labels = _many((1000,))
    first, second = (set(splits.few_shot(keys, labels, 100, seed).tolist()) for seed in (0, 1))
    assert len(first & second) < 40  # 10 by chance


def test_no_images() -> None:
    keys, labels = splits.hash_keys([]), np.zeros(0, dtype=np.int64)
    assert len(_carve(keys, labels)) == 0
