"""Features of a data set on disk: one file for each set and backbone, written once, mapped by every later run."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lit_gen.errors import UserError
from lit_gen.paths import cache_folder
from lit_gen.pictures import rows_of

FORMAT_VERSION = 1  # raise it when the meaning of the files changes
BATCH = 64  # images at a time


class FeatureSet(Dataset):
    """Rows of features in place of images; whatever follows the images in a batch is as it was.

    Args:
        path: (N, ...) float32, a file of numpy's, mapped and never read whole.
        cond: What follows, such as labels (N,).
    """

    def __init__(self, path: Path, cond: tuple[Tensor, ...]) -> None:
        self.path, self.cond = path, cond
        self.features = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.features)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """(features (B, ...) float32, *cond)."""
        rows = np.asarray(indices)
        return (torch.from_numpy(self.features[rows]), *(values[rows] for values in self.cond))

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return tuple(part[0] for part in self.__getitems__([index]))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "cond": self.cond}  # a pickled memory map is a copy of the whole file

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def backbone_digest(backbone: nn.Module) -> str:
    """SHA-256 of a backbone: how it is built, and every value in its parameters and buffers."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {backbone!r}".encode())
    for name, value in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def batch_of(dataset: Dataset, number: int) -> tuple[Any, ...]:
    """The batch of this number, from 0, of BATCH rows in order; what a set draws at random is the same every time."""
    rows = range(number * BATCH, min((number + 1) * BATCH, len(dataset)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number)
        return rows_of(dataset, list(rows))


def read_through(dataset: Dataset, position: int = 0) -> tuple[str, tuple[Tensor, ...]]:
    """SHA-256 of the images of a set, in their order, and what follows them in its batches, of all rows.

    Args:
        dataset: Its batches have the images at `position`; images that follow are not kept.
        position: 0, but for sets of two domains.
    """
    digest = hashlib.sha256()
    cond: list[tuple[Tensor, ...]] = []
    for batch in _batches(dataset):
        images, *others = batch[position:]
        digest.update(str(tuple(images.shape[1:])).encode())
        digest.update(images.contiguous().numpy())
        cond.append(tuple(values for values in others if values.dim() < 4))
    return digest.hexdigest(), tuple(torch.cat(values) for values in zip(*cond, strict=True))


def entry_for(images: str, backbone: str) -> Path:
    """The file for the features of these images by this backbone, both given by their digests."""
    name = hashlib.sha256(f"{images} {backbone}".encode()).hexdigest()
    return cache_folder() / "features" / f"{name[:32]}.npy"


@contextmanager
def new_file(path: Path, n: int) -> Iterator[Callable[[Tensor], None]]:
    """What is called inside with rows (B, ...), batch after batch, makes a file that appears whole or not at all.

    Args:
        path: Where it is going to be; several processes may write it at once, and the last one wins.
        n: Rows of all batches together.

    Raises:
        UserError: At the first batch: the file cannot be written, or the disk has no room.
    """
    unfinished, row, array = None, 0, None

    def add(rows: Tensor) -> None:
        nonlocal unfinished, row, array
        if array is None:
            unfinished = _unfinished(path)
            array = _room(unfinished, (n, *rows.shape[1:]))
        array[row : row + len(rows)] = rows.float().cpu().numpy()
        row += len(rows)

    try:
        yield add
        assert row == n, f"{row} rows instead of {n}"
        array.flush()
        unfinished.chmod(0o644)  # mkstemp is private, while a cache is often shared by a group
        unfinished.replace(path)
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


@torch.no_grad()
def write_features(
    path: Path, backbone: Callable[[Tensor], Tensor], dataset: Dataset, device: torch.device, step: Callable[[int], Any]
) -> None:
    """Computes the features of a set into a new file.

    Args:
        path: Where it is going to be.
        backbone: `images -> features`.
        dataset: Its batches begin with images.
        device: Of the backbone.
        step: Is told the number of images after each batch.

    Raises:
        UserError: The cache cannot be written, or the disk has no room.
    """
    with new_file(path, len(dataset)) as add:
        for images, *_ in _batches(dataset):
            add(backbone(images.to(device)))
            step(len(images))


def _unfinished(path: Path) -> Path:
    """An empty file beside `path`, under a name that no other process has."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".npy", dir=path.parent)
        os.close(file)
    except OSError as error:
        raise UserError(
            f"Cannot write the cache of features: {error}. Expected a folder that can be written; type `export "
            "LIT_GEN_CACHE=/a/folder/of/yours`."
        ) from error
    return Path(name)


def _room(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An empty mapped file, after a check that the disk has room: a full one under a memory map ends the process."""
    needed, free = 4 * int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"The features need {needed / 1e9:.1f} GB; found {free / 1e9:.1f} GB free at {path.parent}. Make room "
            "there, type `export LIT_GEN_CACHE=/a/larger/disk`, or take features of fewer values (output: mean)."
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def _batches(dataset: Dataset) -> Iterator[tuple[Any, ...]]:
    return (batch_of(dataset, number) for number in range(math.ceil(len(dataset) / BATCH)))
