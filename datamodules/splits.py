"""Who is held out and who is among the few shots: orders by hash, so that nothing depends on a generator's state."""

import hashlib
from collections.abc import Iterable

import numpy as np

BROKEN = -1  # the label of an image that could not be read
TRAIN, VAL, TEST = 0, 1, 2


def hash_keys(keys: Iterable[str | bytes]) -> np.ndarray:
    """64-bit hashes of what identifies each image (its relative path, its index or its bytes): (N,) uint64."""
    encoded = (key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key for key in keys)
    digests = (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") for key in encoded)
    return np.fromiter(digests, dtype=np.uint64)


def reseed(keys: np.ndarray, seed: int) -> np.ndarray:
    """A fresh hash of (seed, key) by splitmix64 (Steele et al. 2014, figure 17): (N,) uint64 -> (N,) uint64."""
    mixed = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def class_quantiles(keys: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each image's place among the hashes of its class, (rank + 0.5) / class size.

    Equal hashes share the lowest rank of them, so that identical images cannot stand on two sides of a split.

    Args:
        keys: (N,) uint64.
        labels: (N,) int, all >= 0.

    Returns:
        (N,) float64 in (0, 1).
    """
    order = np.lexsort((keys, labels))
    keys, labels, places = keys[order], labels[order], np.arange(len(order))
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]) | (labels[1:] != labels[:-1])
    first = np.maximum.accumulate(np.where(new, places, 0))
    quantiles = np.empty(len(order))
    quantiles[order] = (first - starts[labels] + 0.5) / sizes[labels]
    return quantiles


def carve(
    keys: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    val: float,
    test: float,
    contents: np.ndarray | None = None,
) -> np.ndarray:
    """Take the splits that a source does not bring out of its train split, class by class.

    Args:
        keys: (N,) uint64, from `hash_keys`; no seed enters, so what is held out stays held out.
        labels: (N,) int64; BROKEN images are in no split of use.
        splits: (N,) int8 of TRAIN, VAL, TEST, as the source has them.
        val: Fraction of the train images, for the case that the source has no VAL.
        test: Likewise for TEST.
        contents: (N,) uint64, alike for identical images, which are then kept on one side.

    Returns:
        (N,) int8.
    """
    val, test = (0.0 if (splits == VAL).any() else val), (0.0 if (splits == TEST).any() else test)
    splits = splits.copy()
    rows = np.flatnonzero((splits == TRAIN) & (labels != BROKEN))
    quantiles = class_quantiles(keys[rows], labels[rows])
    splits[rows[quantiles < test + val]] = VAL
    splits[rows[quantiles < test]] = TEST
    if contents is not None:
        splits[rows] = _together(splits[rows], contents[rows])
    return splits


def _together(parts: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """Brings identical images (M,) that were carved to different sides to TRAIN; where there are none, nothing changes.

    To train, because what is held out would otherwise grow with the number of copies.
    """
    _, groups = np.unique(contents, return_inverse=True)
    lowest, highest = np.full(len(parts), TEST, dtype=np.int8), np.full(len(parts), TRAIN, dtype=np.int8)
    np.minimum.at(lowest, groups, parts)
    np.maximum.at(highest, groups, parts)
    return np.where((lowest != highest)[groups], TRAIN, parts)


def steady(keys: np.ndarray, labels: np.ndarray, splits: np.ndarray, val: float, test: float) -> np.ndarray:
    """As `carve`, but by the hash alone where fractions are asked for: more images never move one that is held out.

    The price is that the sizes of the splits are right on average only. TEST has the lowest hashes, VAL the next.

    Args:
        keys: (N,) uint64, evenly spread; equal ones share a split.
        labels: (N,) int64, all >= 0.
        splits: (N,) int8 of TRAIN, VAL, TEST, as the source has them; a split that it has gets no more images.
        val: Fraction in [0, 1), or from 1 on the number of images, classes in proportion, which is met exactly.
        test: Likewise.

    Returns:
        (N,) int8.
    """
    val, test = (0.0 if (splits == VAL).any() else val), (0.0 if (splits == TEST).any() else test)
    splits = splits.copy()
    for part, wanted, below in ((TEST, test, 0.0), (VAL, val, test if test < 1 else 0.0)):
        rows = np.flatnonzero(splits == TRAIN)
        splits[rows[_lowest(keys[rows], labels[rows], wanted, below)]] = part
    return splits


def _lowest(keys: np.ndarray, labels: np.ndarray, wanted: float, below: float) -> np.ndarray:
    """Which (M,) of the images have the lowest hashes: a fraction above the fraction `below`, or a number."""
    if wanted < 1:
        return keys / 2.0**64 < (below + wanted if wanted else 0)
    order = np.lexsort((keys, class_quantiles(keys, labels)))
    return np.isin(keys, keys[order[: int(wanted)]])


def few_shot(keys: np.ndarray, labels: np.ndarray, n_images: int, seed: int) -> np.ndarray:
    """The first n_images of the seed's order, every prefix of which has the classes in proportion.

    Returns:
        (n_images,) int64 positions in `keys`, ascending.
    """
    seeded = reseed(keys, seed)
    order = np.lexsort((seeded, class_quantiles(seeded, labels)))
    return np.sort(order[:n_images])
