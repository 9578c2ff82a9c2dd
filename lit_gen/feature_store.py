"""Features of a data set on disk: one file for each set and backbone, written once, mapped by every later run."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lit_gen.errors import UserError
from lit_gen.paths import cache_folder
from lit_gen.pictures import in_order

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


def read_through(dataset: Dataset) -> tuple[str, tuple[Tensor, ...]]:
    """SHA-256 of the images of a set, in their order, and what follows them in its batches, of all rows."""
    digest = hashlib.sha256()
    cond: list[tuple[Tensor, ...]] = []
    for images, *others in _batches(dataset):
        digest.update(str(tuple(images.shape[1:])).encode())
        digest.update(images.contiguous().numpy())
        cond.append(tuple(others))
    return digest.hexdigest(), tuple(torch.cat(values) for values in zip(*cond, strict=True))


def entry_for(images: str, backbone: str) -> Path:
    """The file for the features of these images by this backbone, both given by their digests."""
    name = hashlib.sha256(f"{images} {backbone}".encode()).hexdigest()
    return cache_folder() / "features" / f"{name[:32]}.npy"


@torch.no_grad()
def write_features(
    path: Path, backbone: Callable[[Tensor], Tensor], dataset: Dataset, device: torch.device, step: Callable[[int], Any]
) -> None:
    """Computes the features of a set into a file that appears whole or not at all.

    Args:
        path: Where it is going to be; several processes may write it at once, and the last one wins.
        backbone: `images -> features`.
        dataset: Its batches begin with images.
        device: Of the backbone.
        step: Is told the number of images after each batch.

    Raises:
        UserError: The cache cannot be written, or the disk has no room.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".npy", dir=path.parent)
        os.close(file)
    except OSError as error:
        raise UserError(
            f"Cannot write the cache of features: {error}. Expected a folder that can be written; type `export "
            "LIT_GEN_CACHE=/a/folder/of/yours`."
        ) from error
    unfinished = Path(name)
    try:
        row, array = 0, None
        for images, *_ in _batches(dataset):
            found = backbone(images.to(device)).float().cpu().numpy()
            if array is None:
                array = _room(unfinished, (len(dataset), *found.shape[1:]))
            array[row : row + len(found)] = found
            row += len(found)
            step(len(found))
        array.flush()
        unfinished.chmod(0o644)  # mkstemp is private, while a cache is often shared by a group
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
    return in_order(dataset, list(range(len(dataset))), BATCH)
