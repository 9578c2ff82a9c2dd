"""Digits in two styles without pairs, and with a truth to measure against: nothing to download."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datamodules import memory_map, splits
from datamodules.base import ImageDataModule
from datamodules.mnist5k import Mnist5k
from datamodules.transforms import to_float, to_uint8
from datamodules.unpaired import Side, UnpairedDataModule

PAPER, INK = (250, 220, 160), (30, 40, 120)  # what black and white become in domain B, RGB


def paint(pixels: Tensor) -> Tensor:
    """The truth from A to B: thickened by a 3x3 maximum, inverted, and tinted from PAPER (black) to INK (white).

    Args:
        pixels: (N, 3, H, W) uint8, grey digits.

    Returns:
        The same shape, uint8.
    """
    stroke = functional.max_pool2d(pixels[:, :1].float(), 3, stride=1, padding=1) / 255
    paper, ink = (torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1) for colour in (PAPER, INK))
    return torch.lerp(paper, ink, stroke).round_().to(torch.uint8)


class DigitPair(UnpairedDataModule):
    """Handwritten digits (A) and others on paper in ink (B), from disjoint halves of Mnist5k: no pair is ever seen."""

    def __init__(self, image_size: int = 28, **options: Any) -> None:
        """See UnpairedDataModule for the other options.

        Args:
            image_size: Height and width in pixels; the originals have 28.
            options: Those of UnpairedDataModule.
        """
        super().__init__(image_size=image_size, channels=3, **options)

    def domain(self, side: Side, **options: Any) -> Mnist5k:
        """One half of the train digits, and all of the held-out ones."""
        return (_HalfA if side == "a" else _HalfB)(**options)

    @staticmethod
    def true_b(images_a: Tensor) -> Tensor:
        """What a perfect translation makes of images of A; the other way round, A itself is the truth of its true B.

        Args:
            images_a: (N, 3, H, W) in [-1, 1].

        Returns:
            The same shape, float32 in [-1, 1].
        """
        return to_float(paint(to_uint8(images_a)))


class _HalfA(Mnist5k):
    """Digits as they are; every other one of each class is left to B."""

    half = 0

    def summary(self) -> str:
        return f"DigitPair, domain {'AB'[self.half]}: " + super().summary().partition(": ")[2]

    def _find_entry(self) -> Path:
        return Mnist5k(self.image_size, self.channels)._find_entry()  # the same pixels: decoded once

    def _few(self, rows: np.ndarray, keys: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # A fresh hash, for the order of the first one has already chosen what is held out.
        second = splits.class_quantiles(splits.reseed(keys[rows], seed=0), labels[rows]) > 0.5
        return super()._few(rows[second == bool(self.half)], keys, labels)


class _HalfB(_HalfA):
    """The other half, painted."""

    half = 1

    def fingerprint(self) -> dict[str, Any]:
        return {"paper": PAPER, "ink": INK}

    def _find_entry(self) -> Path:
        return ImageDataModule._find_entry(self)

    def decode(self, folder: Path) -> None:
        plain = Mnist5k(self.image_size, self.channels)
        plain.prepare_data()
        digits = memory_map.load(plain._find_entry())
        pixels = paint(torch.from_numpy(np.array(digits.pixels))).numpy()
        memory_map.save(
            folder, pixels=pixels, labels=digits.labels, names=[], keys=digits.keys, class_names=digits.class_names
        )
