"""Decode many images into a memory map, in several processes when there are many."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datamodules.memory_map import create_pixels
from datamodules.parallel import in_chunks
from datamodules.splits import BROKEN
from datamodules.transforms import WHITE, Colour, fit_image

Loader = Callable[[int], tuple[Image.Image, int]]  # row -> (image, label)


def _name(_: int, error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def decode(
    folder: Path,
    load: Loader,
    n_images: int,
    shape: tuple[int, int],
    title: str,
    background: Colour = WHITE,
    explain: Callable[[int, Exception], str] = _name,
) -> tuple[np.ndarray, dict[int, str]]:
    """Fill pixels.npy in `folder` with every image that can be read.

    Args:
        folder: From `memory_map.new_entry`.
        load: Gives image and label of a row; it must be picklable where processes are spawned.
        n_images: Number of rows.
        shape: Channels (1 or 3) and side in pixels.
        title: What the progress bar says.
        background: What transparent pixels are laid on.
        explain: Says why the image of a row could not be read; picklable likewise.

    Returns:
        Labels (N,) int64 with BROKEN where reading failed, and row -> reason for those.
    """
    channels, image_size = shape
    create_pixels(folder, (n_images, channels, image_size, image_size))
    labels = np.full(n_images, BROKEN, dtype=np.int64)
    broken: dict[int, str] = {}
    work = _Decoding(load, folder / "pixels.npy", background, explain)
    with tqdm(total=n_images, desc=title, unit="image", disable=None) as bar:
        for rows, part, failed in in_chunks(work, n_images):
            labels[rows.start : rows.stop] = part
            broken.update(failed)
            bar.update(len(rows))
    return labels, broken


@dataclass
class _Decoding:
    """Decodes the images of a chunk; a class, not a closure, so that a process can be sent it."""

    load: Loader
    path: Path
    background: Colour
    explain: Callable[[int, Exception], str]

    def __call__(self, rows: range) -> tuple[range, list[int], dict[int, str]]:
        pixels = np.load(self.path, mmap_mode="r+")
        labels, broken = [], {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's remarks on odd metadata; what matters is whether pixels come out
            for row in rows:
                label, reason = self._decode_one(row, pixels)
                labels.append(label)
                if reason:
                    broken[row] = reason
        return rows, labels, broken

    def _decode_one(self, row: int, pixels: np.ndarray) -> tuple[int, str]:
        channels, image_size = pixels.shape[1:3]
        try:
            image, label = self.load(row)
            with image:
                pixels[row] = fit_image(image, image_size, channels, self.background)
        except MemoryError:
            raise
        except Exception as error:  # PIL's readers raise nearly anything on damaged bytes; the reason is shown
            pixels[row] = 0
            return BROKEN, self.explain(row, error)
        return label, ""
