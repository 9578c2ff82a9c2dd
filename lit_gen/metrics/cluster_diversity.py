"""How different those generated images are from each other that are nearest to the same training image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.distances import row_parts, squared_distances, unit_rows
from lit_gen.metrics.diversity import mean_of_pairs
from lit_gen.metrics.jackknife import kept


class ClusterDiversity(Metric):
    """Mean distance within the clusters around training images (Ojha et al. 2021, arXiv:2104.06820, section 4).

    Each generated image belongs to its nearest training image; the distance is that of Diversity. A model that replays
    its training images makes many pictures, so that its diversity is high, but one a cluster: here it is near 0.
    """

    better: dict[str, Better] = {"cluster_diversity": "higher"}
    needs = ("train",)
    within = (0.0, math.inf)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"cluster_diversity": cluster_distances(evidence.fake, evidence.train)[0]}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """All of them from one pass over the distances to the training images."""
        return {"cluster_diversity": cluster_distances(evidence.fake, evidence.train, blocks)}


def cluster_distances(fake: Tensor, train: Tensor, blocks: int = 0) -> list[float]:
    """Mean distance of pairs within a cluster, mean over clusters of two images or more (Ojha et al. 2021, section 4).

    Args:
        fake: Features of generated images, (M, F).
        train: Features of training images, (T, F), the centres of the clusters.
        blocks: Of the jackknife; 0 leaves nothing out.

    Returns:
        One value for each replicate, in [0, 4].

    Raises:
        UserError: No two generated images belong to the same training image, or a feature is not finite.
    """
    keep_fake, keep_train = kept(len(fake), blocks), kept(len(train), blocks)
    clusters = nearest_kept(fake, train, keep_train)
    return [_within(fake, cluster, keep, len(train)) for cluster, keep in zip(clusters, keep_fake, strict=True)]


def nearest_kept(x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    """Which row of y (M, F) that a replicate keeps (R, M) is nearest to each row of x (N, F), at length 1: (R, N)."""
    found = torch.empty(len(keep), len(x), dtype=torch.long)
    for rows in row_parts(len(x), len(y)):
        squared = squared_distances(x[rows], y, unit=True)
        for one, keeps in enumerate(keep):
            found[one, rows] = squared.masked_fill(~keeps, math.inf).argmin(1)
    return found


def _within(fake: Tensor, cluster: Tensor, keep: Tensor, clusters: int) -> float:
    total, lengths = torch.zeros(clusters, fake.shape[1], dtype=torch.float64), torch.zeros(clusters).double()
    for rows in row_parts(len(fake)):
        unit, where = unit_rows(fake[rows])[keep[rows]], cluster[rows][keep[rows]]
        total.index_add_(0, where, unit)
        lengths.index_add_(0, where, unit.square().sum(1))
    n = cluster[keep].bincount(minlength=clusters)
    pairs = n > 1
    if not pairs.any():
        raise UserError(
            f"ClusterDiversity: found no two of {int(keep.sum())} generated images that are nearest to the same one of "
            f"{clusters} training images, expected several.\nGenerate more images, or leave it out of the metrics."
        )
    return mean_of_pairs(total[pairs], lengths[pairs], n[pairs]).mean().item()
