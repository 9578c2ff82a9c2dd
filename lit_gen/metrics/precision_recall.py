"""Precision, recall, density and coverage: do generated images look real, and are all kinds of real images made?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.distances import mean_row, row_parts, squared_distances
from lit_gen.metrics.jackknife import kept

ON_THE_RIM = 1 + 1e-10  # a copy of an image's own neighbour lies on its rim, and rounding must not put it outside
SPARE = 4  # times as many neighbours are remembered as one replicate needs: blocks take some of them away


class PrecisionRecall(Metric):
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 2); density and coverage too.

    Density and coverage are by Naeem et al. 2020, arXiv:2002.09797, section 3. Density is not bounded by 1: generated
    images that crowd where real ones are dense go above it.

    Args:
        neighbours: k for precision and recall, 1 or more: an image's ball reaches to its k-th nearest neighbour.
        density_neighbours: k for density and coverage, 1 or more.

    Raises:
        UserError: One of them is smaller than 1.
    """

    better: dict[str, Better] = dict.fromkeys(("precision", "recall", "density", "coverage"), "higher")
    within = (0.0, 1.0)

    def __init__(self, neighbours: int = 3, density_neighbours: int = 5) -> None:
        for name, value in (("neighbours", neighbours), ("density_neighbours", density_neighbours)):
            if value < 1:
                raise UserError(f"PrecisionRecall: found {name} {value}, expected 1 or more.\nType {name}: 3, say.")
        self.neighbours = neighbours
        self.density_neighbours = density_neighbours
        self.least = max(neighbours, density_neighbours) + 2  # an image, its neighbours, and one that is left out

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {name: values[0] for name, values in self._found(evidence).items()}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """All of them from one pass over the distances: leaving images out only takes rows and columns away."""
        return self._found(evidence, blocks)

    def bounds(self, name: str) -> tuple[float, float]:
        return (0.0, math.inf) if name == "density" else self.within

    def _found(self, evidence: Evidence, blocks: int = 0) -> dict[str, list[float]]:
        return precision_recall(evidence.real, evidence.fake, self.neighbours, self.density_neighbours, blocks)


def precision_recall(
    real: Tensor, fake: Tensor, neighbours: int = 3, density_neighbours: int = 5, blocks: int = 0
) -> dict[str, list[float]]:
    """Precision and recall (Kynkaanniemi et al. 2019, eq. 2), density and coverage (Naeem et al. 2020, section 3).

    Args:
        real: Features of real images, (N, F).
        fake: Features of generated images, (M, F).
        neighbours: k for precision and recall, fewer than N and M.
        density_neighbours: k for density and coverage, fewer than N.
        blocks: Of the jackknife; 0 leaves nothing out.

    Returns:
        Each name with one value for each replicate, in [0, 1] but for density, which is >= 0.

    Raises:
        UserError: A feature is not finite.
    """
    origin, keep_real, keep_fake = mean_row(real), kept(len(real), blocks), kept(len(fake), blocks)
    real_rims, dense_rims = squared_radii(real, (neighbours, density_neighbours), keep_real, origin)
    (fake_rims,) = squared_radii(fake, (neighbours,), keep_fake, origin)
    precise = torch.zeros(keep_fake.shape, dtype=torch.bool)
    recalled, covered = torch.zeros_like(keep_real), torch.zeros_like(keep_real)
    balls = torch.zeros(len(keep_real), dtype=torch.float64)  # of real images that generated ones lie in, counted
    for rows in row_parts(len(fake), len(real)):
        squared = squared_distances(fake[rows], real, origin)
        for one, here in enumerate(keep_fake[:, rows]):
            inside = (squared <= dense_rims[one])[here]
            balls[one] += inside.sum()
            covered[one] |= inside.any(0)
            precise[one, rows] = (squared <= real_rims[one]).any(1) & here
            recalled[one] |= (squared <= fake_rims[one, rows, None]).any(0)
    n_real, n_fake = keep_real.sum(1), keep_fake.sum(1)
    return {
        "precision": (precise.sum(1) / n_fake.double()).tolist(),
        "recall": ((recalled & keep_real).sum(1) / n_real.double()).tolist(),
        "density": (balls / (density_neighbours * n_fake)).tolist(),
        "coverage": (covered.sum(1) / n_real.double()).tolist(),
    }


def manifold_masks(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[Tensor, Tensor]:
    """Which generated images lie inside the manifold of the real ones (M,), and which real ones inside theirs (N,)."""
    origin = mean_row(real)
    radii = [squared_radii(rows, (neighbours,), kept(len(rows)), origin)[0, 0] for rows in (real, fake)]
    inside, covered = torch.zeros(len(fake), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for rows in row_parts(len(fake), len(real)):
        squared = squared_distances(fake[rows], real, origin)
        inside[rows] = (squared <= radii[0]).any(1)
        covered |= (squared <= radii[1][rows, None]).any(0)
    return inside, covered


def squared_radii(x: Tensor, neighbours: tuple[int, ...], keep: Tensor, origin: Tensor) -> Tensor:
    """Squared distance of each row to its k-th nearest neighbour among those that a replicate keeps.

    Args:
        x: (N, F).
        neighbours: Each k that is wanted, fewer than the rows that are kept.
        keep: (R, N) bool, the rows that are in each replicate.
        origin: (F,), where distances are seen from.

    Returns:
        (len(neighbours), R, N) float64, below 0 for a row that its replicate leaves out: nothing lies inside.
    """
    found = torch.empty(len(neighbours), *keep.shape, dtype=torch.float64)
    most = min(len(x), SPARE * (max(neighbours) + 1))
    for rows in row_parts(len(x), len(x)):
        squared = squared_distances(x[rows], x, origin)
        near, where = squared.topk(most, largest=False)
        for one, keeps in enumerate(keep):
            counted = keeps[where].cumsum(1)  # the row itself is the first, at distance 0
            for radii, k in zip(found, neighbours, strict=True):
                radius = near.gather(1, (counted > k).byte().argmax(1, keepdim=True))[:, 0]
                short = counted[:, -1] <= k
                if short.any():  # a block took most of what is remembered
                    radius[short] = squared[short][:, keeps].kthvalue(k + 1).values
                radii[one, rows] = radius
            found[:, one, rows] = found[:, one, rows].where(keeps[rows], -1.0)
    return found * ON_THE_RIM
