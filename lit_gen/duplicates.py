"""Pictures that are there twice, pixel by pixel or to the eye."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from lit_gen.errors import UserError

BITS = 64  # of a perceptual hash
MOST_BANDS = 16  # with more of them a band is too short to tell pictures apart
PAIRS = 2**16  # compared at once; more would leave the processor's cache


class PerceptualHash:
    """64 bits, nearly the same for pictures that look alike (Zauner 2010, section 3.2.1, by the library imagehash).

    They are the signs of the low frequencies of a small grey cosine transform.

    Args:
        near: Most bits that are going to differ in near duplicates.
        command: Whose option `--near` is, for messages.

    Raises:
        UserError: imagehash is missing, or `near` is no number of bits.
    """

    def __init__(self, near: int, command: str) -> None:
        if not 0 <= near < BITS:
            raise UserError(f"{command}: --near is {near}, expected 0 to {BITS - 1} bits, or null. Type --near 6.")
        try:
            import imagehash
        except ImportError as error:
            raise UserError(
                f"{command}: finding near duplicates needs the package imagehash ({error}).\nType pip install "
                "imagehash, or --near null to look for exact duplicates alone."
            ) from error
        self.near, self.command = near, command
        self._hash = imagehash.phash

    def __call__(self, image: Image.Image) -> np.uint64:
        """The hash of a picture."""
        return np.packbits(self._hash(image).hash).view(np.uint64)[0]


class Duplicates:
    """Remembers pictures, and says which of them a new one repeats.

    Args:
        near: Most bits of 64 of the perceptual hashes that may differ in near duplicates; None looks for exact ones
            alone.
        command: Whose option `--near` is, for messages.

    Raises:
        UserError: imagehash is missing, or `near` is no number of bits.
    """

    def __init__(self, near: int | None, command: str = "prepare") -> None:
        self.near, self.command = near, command
        self._hash = None if near is None else PerceptualHash(near, command)
        self._exact: dict[bytes, str] = {}
        self._names: list[str] = []
        self._hashes = np.empty(64, dtype=np.uint64)

    def find(self, image: Image.Image, name: str) -> tuple[str, str] | None:
        """("exact" or "near", the name of the earlier one); None for a new picture, which is remembered by `name`."""
        content = content_of(image)
        if content in self._exact:
            return "exact", self._exact[content]
        if self._hash is not None:
            found = self._hash(image)
            differing = np.bitwise_count(self._hashes[: len(self._names)] ^ found)
            if len(differing) and differing.min() <= self.near:
                return "near", self._names[int(differing.argmin())]
            if len(self._names) == len(self._hashes):
                self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
            self._hashes[len(self._names)] = found
        self._exact[content] = name
        self._names.append(name)
        return None


def first_equal(contents: np.ndarray) -> np.ndarray:
    """For each of many pictures the first of the equal ones before it: (N,) uint64 -> (N,) int64, -1 for none."""
    _, first, group = np.unique(contents, return_index=True, return_inverse=True)
    return np.where(first[group] < np.arange(len(contents)), first[group], -1)


def first_near(hashes: np.ndarray, near: int) -> np.ndarray:
    """For each of many pictures the first before it whose hash differs in at most `near` bits.

    Where the bits are cut into near + 1 bands, such hashes agree in one band at least, and only those that do are
    compared (Norouzi et al. 2012, proposition 1): a million need seconds and little memory.

    Args:
        hashes: (N,) uint64.
        near: Bits, 0 to 63.

    Returns:
        (N,) int64, -1 for none.
    """
    values, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    found = first.copy()
    n_bands = near + 1 if near < MOST_BANDS else 1
    edges = [BITS * band // n_bands for band in range(n_bands + 1)]
    for low, high in zip(edges, edges[1:], strict=False):
        keys = (values >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1 if n_bands > 1 else 0)
        order = np.lexsort((first, keys))
        for members in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            _compare(values, first, found, members, near)
    return np.where(found[group] < np.arange(len(hashes)), found[group], -1)


def _compare(values: np.ndarray, first: np.ndarray, found: np.ndarray, members: np.ndarray, near: int) -> None:
    """Lowers `found` to the first row of what is near, among these members (M,), which are in the order of `first`."""
    if len(members) < 2:
        return
    step = max(1, PAIRS // len(members))
    for start in range(0, len(members), step):
        some, before = members[start : start + step], members[: start + step]
        alike = np.bitwise_count(values[some, None] ^ values[before]) <= near
        found[some] = np.minimum(found[some], first[before[alike.argmax(axis=1)]])


def content_of(image: Image.Image) -> bytes:
    """8 bytes that stand for a picture's decoded pixels, mode and size."""
    header = f"{image.mode} {image.size}".encode()
    return hashlib.blake2b(header + image.tobytes(), digest_size=8).digest()
