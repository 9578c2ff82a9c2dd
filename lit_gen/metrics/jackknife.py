"""How sure an estimate is: the delete-a-block jackknife.

Resampling with replacement would put the same image into a set twice: it then is its own nearest neighbour, and the
spread of features comes out too small. Leaving images out makes no twins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.special import stdtrit
from torch import Tensor

MOST_BLOCKS = 20


def blocks_for(*sizes: int) -> int:
    """How many blocks sets of these sizes are divided into: 20, fewer for sets of fewer images."""
    return min(MOST_BLOCKS, *sizes)


def block_of(n: int, blocks: int) -> Tensor:
    """The block of each of n images, (n,) int64: at random, since sets are often sorted, but the same every time.

    Two models judged by the same images then leave out the same of them, so that their difference can be judged too.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)) % blocks


def without(rows: Tensor | None, block: int, blocks: int) -> Tensor | None:
    """The rows that are not in this block; None stays None."""
    return None if rows is None else rows[block_of(len(rows), blocks) != block]


def all_and_without(blocks: int) -> Tensor:
    """Which blocks count, 1 or 0, in float64: all of them, then all but each; (1 + G, G), or (1, 1) of one alone."""
    everything = torch.ones(1, blocks, dtype=torch.float64)
    return torch.cat([everything, everything - torch.eye(blocks, dtype=torch.float64)]) if blocks > 1 else everything


def kept(n: int, blocks: int = 0) -> Tensor:
    """Which of n rows are in each of the replicates, (blocks, n) bool; without blocks one replicate that has all."""
    if blocks == 0:
        return torch.ones(1, n, dtype=torch.bool)
    return block_of(n, blocks) != torch.arange(blocks)[:, None]


def standard_error(replicates: Sequence[float]) -> float:
    """Of an estimate, from its values without each of the blocks (Efron & Tibshirani 1993, eq. 11.5, for blocks).

    Where one replicate leaves a block out of each of two independent sets, the variances of both are in it.
    """
    g = len(replicates)
    mean = math.fsum(replicates) / g
    return math.sqrt((g - 1) / g * math.fsum((value - mean) ** 2 for value in replicates))


def interval(value: float, replicates: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """The ends between which the true value lies with this probability, by Student's t with one less than the blocks.

    Args:
        value: The estimate from all images.
        replicates: Its values without each of the blocks, two at least.
        share: Probability, in (0, 1).
    """
    half = float(stdtrit(len(replicates) - 1, (1 + share) / 2)) * standard_error(replicates)
    return value - half, value + half
