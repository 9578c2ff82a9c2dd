"""FID as it would be with infinitely many images: what it says at several numbers of them, extrapolated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.fid import distance, fid_without_blocks, normal
from lit_gen.metrics.rows import check_features, in_parts


class FIDInfinity(Metric):
    """FID extrapolated to infinitely many images, linearly in 1/N (Chong & Forsyth 2020, arXiv:1911.07023).

    The paper shrinks the generated set alone, before 50,000 reals. A small held-out set adds a bias of its own, of the
    same form: FID(N, M) = FID + a / N + b / M. Both sets are therefore shrunk by the same share s, so that (a / N + b /
    M) / s is one straight line, whose end takes both biases away at once. Each size is a partition of both sets into
    equal parts at random, and every part is judged, so that no image is worth more than another.

    The line is straight where there are many images for each direction that the features spread in. With 100 reals and
    1,280 features it is not: the number is then nearer the truth than FID, but still far from it, and compares only
    models that were judged with as many images. KID has no bias at all, and is what to trust with so few. The number
    may fall a little below 0.

    Args:
        sizes: Numbers of images to judge: all, a half of them, a third ..., at least 2. Two follow the curve of small
            sets best, and more are hardly less noisy, while the k-th size costs k distances more.

    Raises:
        UserError: `sizes` is less than 2.
    """

    better: ClassVar[dict[str, Better]] = {"fid_infinity": "lower"}

    def __init__(self, sizes: int = 2) -> None:
        if sizes < 2:
            raise UserError(f"FIDInfinity: found sizes {sizes}, expected at least 2 for a line. Type sizes: 2.")
        self.sizes = sizes
        self.least = 8 * sizes

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"fid_infinity": fid_infinity(evidence.real, evidence.fake, self.sizes)}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """A block leaves the parts that its images are in, which else stay: new parts would add their own chance."""
        at_sizes = []
        for pairs in partitions(evidence.real, evidence.fake, self.sizes):
            found = [fid_without_blocks(evidence.real, evidence.fake, blocks, *rows) for rows in pairs]
            at_sizes.append(torch.tensor(found, dtype=torch.float64).mean(0))
        return {"fid_infinity": intercept(torch.stack(at_sizes)).tolist()}


def fid_infinity(real: Tensor, fake: Tensor, sizes: int = 2) -> float:
    """FID of infinitely many images, by a line through its means over parts of all, 1/2, ... 1/sizes of the images.

    Args:
        real: Features of real images, (N, F).
        fake: Features of generated images, (M, F).
        sizes: At least 2 and at most half of N and of M.

    Returns:
        The end of the line at 1/N = 0.

    Raises:
        UserError: The features are not two matrices of the same width with two rows at least, or not all finite.
    """
    check_features("FIDInfinity", real=real, fake=fake)
    at_sizes = []
    for pairs in partitions(real, fake, sizes):
        found = [distance(normal(real, rows), normal(fake, others)) for rows, others in pairs]
        at_sizes.append(sum(found) / len(found))
    return intercept(torch.tensor(at_sizes, dtype=torch.float64)).item()


def intercept(values: Tensor) -> Tensor:
    """Where the line of least squares through (1, values[0]), (2, values[1]), ... meets 0: (K, ...) -> (...)."""
    places = torch.arange(1, len(values) + 1, dtype=torch.float64)
    centred = places - places.mean()
    weights = 1 / len(values) - places.mean() * centred / centred.square().sum()
    return torch.tensordot(weights, values, 1)


def partitions(real: Tensor, fake: Tensor, sizes: int) -> list[list[tuple[Tensor, Tensor]]]:
    """For 1, 2, ... `sizes`: both sets in so many equal parts, as the numbers of their rows, part by part."""
    orders = [shuffled(features, seed) for seed, features in enumerate((real, fake))]
    return [
        [(orders[0][part::parts], orders[1][part::parts]) for part in range(parts)] for parts in range(1, sizes + 1)
    ]


def shuffled(features: Tensor, seed: int) -> Tensor:
    """The numbers of the rows at random, (N,) int64, by what the rows hold: in whatever order a set comes.

    Rows are sorted by their share of a random direction, which rounding of features hardly changes, then shuffled.
    """
    random = torch.Generator().manual_seed(seed)
    direction = torch.randn(features.shape[1], generator=random, dtype=torch.float64).to(features.device)
    order = torch.cat([part @ direction for part in in_parts(features)]).argsort(stable=True)
    return order.cpu()[torch.randperm(len(order), generator=random)]
