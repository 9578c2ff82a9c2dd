"""How different generated images are from each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.distances import row_parts, unit_rows
from lit_gen.metrics.jackknife import kept


class Diversity(Metric):
    """Mean perceptual distance of two generated images, by features at length 1 (Zhang et al. 2018, eq. 1).

    The paper's distance (arXiv:1801.03924) of two vectors with all weights 1: 0 for the same picture over and over.
    """

    better: dict[str, Better] = {"diversity": "higher"}
    within = (0.0, math.inf)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"diversity": mean_distances(evidence.fake)[0]}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """All of them from one sum: taking a block away takes its part of the sum away."""
        return {"diversity": mean_distances(evidence.fake, blocks)}


def mean_distances(features: Tensor, blocks: int = 0) -> list[float]:
    """Mean of |u_i - u_j|^2 over pairs i < j, where u are the rows at length 1 (Zhang et al. 2018, eq. 1).

    Args:
        features: (N, F), two rows at least in each replicate.
        blocks: Of the jackknife; 0 leaves nothing out.

    Returns:
        One value for each replicate, in [0, 4].
    """
    keep = kept(len(features), blocks).double()
    total, lengths = 0, 0
    for rows in row_parts(len(features)):
        unit = unit_rows(features[rows])
        total = total + keep[:, rows] @ unit
        lengths = lengths + keep[:, rows] @ unit.square().sum(1)
    return mean_of_pairs(total, lengths, keep.sum(1)).tolist()


def mean_of_pairs(total: Tensor, lengths: Tensor, n: Tensor) -> Tensor:
    """Mean squared distance over pairs of different rows, by 2 (n sum |u|^2 - |sum u|^2) / (n (n - 1)).

    Args:
        total: (..., F), sum of the rows of each set.
        lengths: (...), sum of their squared lengths.
        n: (...), how many rows there are, 2 at least.
    """
    # Of rows that are all the same, rounding leaves about 1e-16 of what is subtracted, on either side of 0.
    return 2 * (n * lengths - total.square().sum(-1)).clamp_min(0) / (n * (n - 1))
