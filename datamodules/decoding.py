"""Decode many images into a memory map, in several processes when there are many."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datamodules.memory_map import create_pixels
from datamodules.splits import BROKEN
from datamodules.transforms import fit_image

CHUNK = 128  # images that a process decodes between two reports
FEW = 1000  # up to here starting processes costs more than it saves

Loader = Callable[[int], tuple[Image.Image, int]]  # row -> (image, label)
_job: tuple[Loader, Path] | None = None  # what a decoding process works on; set once in each


def decode(
    folder: Path, load: Loader, n_images: int, image_size: int, channels: int, title: str
) -> tuple[np.ndarray, dict[int, str]]:
    """Fill pixels.npy in `folder` with every image that can be read.

    Args:
        folder: From `memory_map.new_entry`.
        load: Gives image and label of a row; it must be picklable where processes are spawned.
        n_images: Number of rows.
        image_size: Side in pixels.
        channels: 1 or 3.
        title: What the progress bar says.

    Returns:
        Labels (N,) int64 with BROKEN where reading failed, and row -> reason for those.
    """
    create_pixels(folder, (n_images, channels, image_size, image_size))
    labels = np.full(n_images, BROKEN, dtype=np.int64)
    broken: dict[int, str] = {}
    starts = range(0, n_images, CHUNK)
    with tqdm(total=n_images, desc=title, unit="image", disable=None) as bar:
        for start, part, failed in _run(starts, (load, folder / "pixels.npy")):
            labels[start : start + len(part)] = part
            broken.update(failed)
            bar.update(len(part))
    return labels, broken


def _run(starts: range, job: tuple[Loader, Path]) -> Iterator[tuple[int, list[int], dict[int, str]]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if starts.stop <= FEW or cores == 1 or multiprocessing.current_process().daemon:
        _begin(job)
        yield from map(_decode_chunk, starts)
        return
    # Forked children inherit the loader instead of unpickling it, and need no import of torch: they start at once.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(min(cores, 32), context, initializer=_begin, initargs=(job,)) as pool:
        yield from pool.map(_decode_chunk, starts)


def _begin(job: tuple[Loader, Path]) -> None:
    global _job
    _job = job


def _decode_chunk(start: int) -> tuple[int, list[int], dict[int, str]]:
    assert _job is not None
    load, path = _job
    pixels = np.load(path, mmap_mode="r+")
    labels, broken = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's remarks on odd metadata; what matters is whether the pixels come out
        for row in range(start, min(start + CHUNK, len(pixels))):
            label, reason = _decode_one(load, row, pixels)
            labels.append(label)
            if reason:
                broken[row] = reason
    return start, labels, broken


def _decode_one(load: Loader, row: int, pixels: np.ndarray) -> tuple[int, str]:
    channels, image_size = pixels.shape[1:3]
    try:
        image, label = load(row)
        with image:
            pixels[row] = fit_image(image, image_size, channels)
    except MemoryError:
        raise
    except Exception as error:  # PIL's readers raise nearly anything on damaged bytes; the reason is kept and shown
        pixels[row] = 0
        return BROKEN, f"{type(error).__name__}: {error}"
    return label, ""
