"""Features of many images, computed by all processes together, kept in memory maps, and of a data set only once."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.transforms import to_float, to_uint8
from lit_gen.errors import UserError
from lit_gen.feature_store import BATCH, backbone_digest, batch_of, entry_for, new_file, read_through
from lit_gen.metrics.extractor import Extractor
from lit_gen.ranks import Ranks

Step = Callable[[int], Any]
AT_ONCE = 8  # images that the extractor sees: more of them only take memory, for maps that are soon forgotten


@dataclass(frozen=True)
class SetFeatures:
    """What an extractor says of a data set.

    Attributes:
        features: (N, F) float32, over a memory map.
        labels: (N,) int64, where the set's images have classes.
        digest: SHA-256 of the images.
    """

    features: Tensor
    labels: Tensor | None
    digest: str


def features_of_set(
    dataset: Dataset, extractor: Extractor, ranks: Ranks, position: int = 0, step: Step | None = None
) -> SetFeatures | None:
    """Features of a data set, from the cache where the same images have been through the same extractor before.

    The key is the SHA-256 of the images as the set gives them and of the extractor's weights: it follows any change of
    a pixel, and no change of a path. A set that draws at random gives the same images each time.

    Args:
        dataset: Its batches have the images, (B, C, H, W) float32 in [-1, 1], at `position`.
        extractor: In each process the same.
        ranks: Who shares the work; all of them have to call.
        position: 0, but for sets of two domains.
        step: Is told how many more images are done; never called where the cache knew them.

    Returns:
        In process 0; None in the others.

    Raises:
        UserError: There are no images, some of them are not finite, or the cache cannot be written.
    """
    if not len(dataset):
        raise UserError(
            "Evaluation: found a data set without images, expected some to compare with.\nHold more of the data out, "
            "e.g. --data.test_fraction 0.1"
        )
    path, cond, digest = ranks.first(_look_up, dataset, extractor, position)
    if not ranks.first(path.is_file):
        numbers = range(ranks.rank, math.ceil(len(dataset) / BATCH), ranks.world_size)
        batches = (batch_of(dataset, number)[position] for number in numbers)
        told = "images of the data, expected finite numbers.\nLook at what the data set gives."
        _write_rows(path, batches, len(dataset), extractor, ranks, step, told)
    if ranks.rank:
        return None
    has_labels = bool(cond) and cond[0].dim() == 1 and cond[0].dtype == torch.int64
    return SetFeatures(_mapped(path), cond[0] if has_labels else None, digest)


def features_of_batches(
    make: Callable[[slice], Iterable[Tensor]],
    n: int,
    extractor: Extractor,
    folder: Path,
    ranks: Ranks,
    step: Step | None = None,
    rounded: bool = True,
) -> Tensor | None:
    """Features of generated images, which are rounded to 8 bits first, as real ones are.

    Args:
        make: Called with slice(rank, None, world_size) it gives those of all batches of 64 images that this process has
            to make, (B, C, H, W) in [-1, 1]; only the last of all batches is smaller.
        n: Images in all of them.
        extractor: In each process the same.
        folder: Where the file is to lie; whoever gives it clears it away.
        ranks: Who shares the work; all of them have to call.
        step: Is told how many more images are done.
        rounded: False leaves images as they are: what changes by less than a grey level would be lost.

    Returns:
        (n, F) float32 over a memory map, in process 0; None in the others.

    Raises:
        UserError: Images are not finite, or the folder cannot be written.
    """
    path = folder / f"{extractor.name}-{secrets.token_hex(4)}.npy"  # process 0's counts
    made = make(slice(ranks.rank, None, ranks.world_size))
    batches = (_rounded(images) for images in made) if rounded else made
    told = "generated images, expected finite numbers: the generator has diverged.\nTake an earlier checkpoint."
    _write_rows(path, batches, n, extractor, ranks, step, told)
    return None if ranks.rank else _mapped(path)


def _look_up(dataset: Dataset, extractor: Extractor, position: int) -> tuple[Path, tuple[Tensor, ...], str]:
    """Where the features belong, what follows the images, and the images' digest."""
    digest, cond = read_through(dataset, position)
    return entry_for(digest, extractor_digest(extractor)), cond, digest


def extractor_digest(extractor: Extractor) -> str:
    """SHA-256 of all that decides what an extractor says: its class, its name and its weights."""
    about = f"{type(extractor).__qualname__} {extractor.name} {backbone_digest(extractor)}"
    return hashlib.sha256(about.encode()).hexdigest()


def _write_rows(
    path: Path,
    batches: Iterable[Tensor],
    n: int,
    extractor: Extractor,
    ranks: Ranks,
    step: Step | None,
    told: str,
) -> None:
    """Writes the features of n images, of which this process has each world_size-th batch, in their order.

    Batches are cut without regard to the number of processes, so that neither the file nor a network's arithmetic
    depends on it. Only as many rows as the processes make at a time are ever held.

    Args:
        path: Of the file, which process 0 writes.
        batches: Of this process.
        n: Images of all processes.
        extractor: Sees the images on its own device.
        ranks: Who shares the work.
        step: Is told the number of images after each round.
        told: What is said of images that are not finite, after their number.
    """
    batches = iter(batches)
    with new_file(path, n) if ranks.rank == 0 else nullcontext() as add:
        for start in range(0, n, BATCH * ranks.world_size):
            size = min(max(n - start - BATCH * ranks.rank, 0), BATCH)
            rows = ranks.gather(_features(batches, size, extractor)).flatten(0, 1)[: n - start]
            broken = int((~rows.isfinite().all(1)).sum())
            if broken:  # all processes see them, so that none waits for the others
                raise UserError(f"Evaluation: found {broken} of {len(rows)} images not finite among {told}")
            ranks.first(add, rows)
            if step is not None:
                step(len(rows))


@torch.inference_mode()
def _features(batches: Iterator[Tensor], size: int, extractor: Extractor) -> Tensor:
    """Features (64, F) of the next batch, of which the first `size` count; NaN for images that are not finite."""
    device = next(extractor.parameters()).device
    rows = torch.zeros(BATCH, extractor.n_features, device=device)
    if size:
        images = next(batches).to(device)
        assert len(images) == size, f"{len(images)} images in a batch instead of {size}"
        with torch.autocast(device.type, enabled=False):  # the numbers are not to depend on a run's precision
            rows[:size] = torch.cat([extractor(part) for part in images.float().split(AT_ONCE)])
        rows[:size][~images.isfinite().flatten(1).all(1)] = torch.nan
    return rows


def _rounded(images: Tensor) -> Tensor:
    """Images as a file of 8 bits would have them; what is not finite becomes NaN."""
    parts = images.split(AT_ONCE)
    return torch.cat([torch.where(part.isfinite(), to_float(to_uint8(part)), torch.nan) for part in parts])


def _mapped(path: Path) -> Tensor:
    """The rows of a file, read when they are used."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))
