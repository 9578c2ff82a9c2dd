"""Pictures that are there twice, pixel by pixel or to the eye."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from lit_gen.errors import UserError

BITS = 64  # of a perceptual hash


class Duplicates:
    """Remembers pictures, and says which of them a new one repeats.

    Near duplicates have perceptual hashes that differ in few bits (signs of the low frequencies of a small grey cosine
    transform, Zauner 2010, section 3.2.1, by the library imagehash).

    Args:
        near: Most bits of 64 that may differ in near duplicates; None looks for exact ones alone.

    Raises:
        UserError: imagehash is missing, or `near` is no number of bits.
    """

    def __init__(self, near: int | None) -> None:
        if near is not None:
            if not 0 <= near < BITS:
                raise UserError(f"prepare: --near is {near}, expected 0 to {BITS - 1} bits, or null. Type --near 6.")
            try:
                import imagehash
            except ImportError as error:
                raise UserError(
                    f"prepare: finding near duplicates needs the package imagehash ({error}).\nType pip install "
                    "imagehash, or --near null to look for exact duplicates alone."
                ) from error
            self._hash = imagehash.phash
        self.near = near
        self._exact: dict[bytes, str] = {}
        self._names: list[str] = []
        self._bits = np.empty((64, BITS), dtype=bool)

    def find(self, image: Image.Image, name: str) -> tuple[str, str] | None:
        """("exact" or "near", the name of the earlier one); None for a new picture, which is remembered by `name`."""
        content = content_of(image)
        if content in self._exact:
            return "exact", self._exact[content]
        if self.near is not None:
            bits = self._hash(image).hash.ravel()
            differing = (self._bits[: len(self._names)] != bits).sum(1)
            if len(differing) and differing.min() <= self.near:
                return "near", self._names[int(differing.argmin())]
            if len(self._names) == len(self._bits):
                self._bits = np.concatenate([self._bits, np.empty_like(self._bits)])
            self._bits[len(self._names)] = bits
        self._exact[content] = name
        self._names.append(name)
        return None


def content_of(image: Image.Image) -> bytes:
    """8 bytes that stand for a picture's decoded pixels, mode and size."""
    header = f"{image.mode} {image.size}".encode()
    return hashlib.blake2b(header + image.tobytes(), digest_size=8).digest()
