"""Images as 8-bit pixels, for metrics that look at them without a network; a byte a value, so that many fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.transforms import to_uint8
from lit_gen.feature_store import BATCH, batch_of
from lit_gen.ranks import Ranks


def images_of_set(dataset: Dataset) -> Tensor:
    """Those of a data set, (N, C, H, W) uint8; what it draws at random is the same every time."""
    return torch.cat([to_uint8(batch_of(dataset, number)[0]) for number in range(math.ceil(len(dataset) / BATCH))])


def noted(batches: Iterable[Tensor], seen: list[Tensor]) -> Iterator[Tensor]:
    """The same batches of images (B, C, H, W) in [-1, 1], each of which `seen` gets as uint8 when it goes by."""
    for images in batches:
        seen.append(to_uint8(images).cpu())
        yield images


def gathered(seen: list[Tensor], n: int, ranks: Ranks) -> Tensor | None:
    """The images that all processes have noted, in the order of their batches.

    Args:
        seen: Of this process, which has each world_size-th batch of BATCH images, (B, C, H, W) uint8.
        n: Images of all processes.
        ranks: All of them have to call.

    Returns:
        (n, C, H, W) uint8 in process 0; None in the others.
    """
    shape = ranks.broadcast(tuple(seen[0].shape[1:]) if seen else ())
    rounds = []
    for number in range(math.ceil(n / (BATCH * ranks.world_size))):
        padded = torch.zeros(BATCH, *shape, dtype=torch.uint8)
        if number < len(seen):
            padded[: len(seen[number])] = seen[number]
        rows = ranks.gather(padded).flatten(0, 1)
        rounds.append(rows if ranks.rank == 0 else rows[:0])
    return None if ranks.rank else torch.cat(rounds)[:n]
