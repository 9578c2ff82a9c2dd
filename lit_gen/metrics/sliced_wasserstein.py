"""Sliced Wasserstein distance of image patches: no network has a say in it, so none can be flattered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datamodules.transforms import to_float
from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.jackknife import kept
from lit_gen.metrics.rows import AT_A_TIME

SIDE = 7  # of a patch, as in the paper
SMALLEST = 14  # side of the coarsest level at least: 16 for powers of two, 14 for images of 28 pixels
MOST_REPLICATES = 8  # each sorts everything again


class SlicedWasserstein(Metric):
    """Sliced Wasserstein distance of Laplacian patches (Karras et al. 2018, arXiv:1710.10196, section 5).

    Images are taken apart into levels from fine to coarse, and 7x7 patches of both sets are compared at each of them:
    their distribution, not which patch is beside which. Many good patches in a senseless order score well, and so does
    a copied training set. Where a network that is frozen in the discriminator also judges its images, this one is
    impartial. `swd` is the mean over levels, times 1000 as in the paper's tables, and falls with more images.

    Args:
        patches: In each level of each image, at random places that are the same in all images.
        directions: On which patches are projected.
        seed: Of the places and the directions.

    Raises:
        UserError: `patches` or `directions` is less than 1.
    """

    better: ClassVar[dict[str, Better]] = {"swd": "lower"}
    needs = ("real_images", "fake_images")
    within = (0.0, math.inf)
    space = "pixels"

    def __init__(self, patches: int = 32, directions: int = 64, seed: int = 0) -> None:
        for name, number in (("patches", patches), ("directions", directions)):
            if number < 1:
                raise UserError(f"SlicedWasserstein: found {name} {number}, expected at least 1. Type {name}: 32, say.")
        self.patches, self.directions, self.seed = patches, directions, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        """The distance.

        Raises:
            UserError: Images of the two sets differ in their shape, or are smaller than a patch.
        """
        return self.measured(evidence, 0)[0]

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        return self.measured(evidence, blocks)[1]

    def measured(self, evidence: Evidence, blocks: int) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
        """Patches are cut out once; without a block, their statistics and their order are found again."""
        images = evidence.real_images, evidence.fake_images
        check_images(*images)
        blocks, random = min(blocks, MOST_REPLICATES), torch.Generator().manual_seed(self.seed)
        keeps = [
            torch.cat([kept(len(rows)), kept(len(rows), blocks)]) if blocks else kept(len(rows)) for rows in images
        ]
        sums = torch.zeros(1 + blocks, dtype=torch.float64)
        levels = levels_of(images[0].shape)
        for level, (height, width) in enumerate(levels):
            places = torch.stack(
                [torch.randint(side - SIDE + 1, (self.patches,), generator=random) for side in (height, width)]
            )
            real, fake = (patches_of(rows, level, len(levels), places) for rows in images)
            directions = torch.randn(self.directions, *real.shape[2:], generator=random)
            directions /= directions.square().sum((1, 2), keepdim=True).sqrt()
            ours, theirs = (projections(rows, directions, keep) for rows, keep in zip((real, fake), keeps, strict=True))
            sums += torch.tensor([wasserstein(*both) for both in zip(ours, theirs, strict=True)], dtype=torch.float64)
        value, *replicates = (1000 * sums / len(levels)).tolist()
        return {"swd": value}, {"swd": replicates}


def levels_of(shape: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width of each level of images (N, C, H, W), halved while both sides stay at least SMALLEST."""
    sides = [(shape[-2], shape[-1])]
    while (half := (math.ceil(sides[-1][0] / 2), math.ceil(sides[-1][1] / 2))) and min(half) >= SMALLEST:
        sides.append(half)
    return sides


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """What each level adds to the next coarser one, the last level as it is (Burt & Adelson 1983, eqs. 1 to 4).

    Args:
        images: (B, C, H, W) float.
        levels: At least 1.

    Returns:
        (B, C, ceil(H / 2^i), ceil(W / 2^i)) for each level i; expanded and summed up from the coarsest, `images`.
    """
    found = []
    for _ in range(levels - 1):
        coarse = blurred(images)[..., ::2, ::2]
        found.append(images - expanded(coarse, images.shape))
        images = coarse
    return [*found, images]


def expanded(coarse: Tensor, shape: Sequence[int]) -> Tensor:
    """A level at twice the size, in the shape (B, C, H, W) of the next finer one (Burt & Adelson 1983, eq. 2)."""
    wide = coarse.new_zeros(shape)
    wide[..., ::2, ::2] = coarse
    return 4 * blurred(wide)


def blurred(images: Tensor) -> Tensor:
    """Images (B, C, H, W) through the 5x5 binomial filter, mirrored at their edges."""
    found = functional.pad(images, (2, 2, 2, 2), mode="reflect")
    for side in (-1, -2):  # sums of shifted images: on a CPU several times as fast as a convolution of each channel
        a, b, c, d, e = (found.narrow(side, start, found.shape[side] - 4) for start in range(5))
        found = (a + e).add_(b, alpha=4).add_(d, alpha=4).add_(c, alpha=6).div_(16)
    return found


def patches_of(images: Tensor, level: int, levels: int, places: Tensor) -> Tensor:
    """Patches of one level, (N, P, C, 49) float32.

    Args:
        images: (N, C, H, W) uint8.
        level: From 0, the finest.
        levels: How many the pyramid has.
        places: Upper left corners, row and column, (2, P) int64.
    """
    rows, columns = places[:, :, None] + torch.arange(SIDE)
    found = []
    for part in images.split(AT_A_TIME):
        whole = laplacian_pyramid(to_float(part), min(level + 2, levels))[level]
        cut = whole[:, :, rows[:, :, None], columns[:, None, :]]  # (B, C, P, 7, 7)
        found.append(cut.flatten(3).transpose(1, 2))
    return torch.cat(found)


def projections(patches: Tensor, directions: Tensor, keeps: Tensor) -> Iterator[Tensor]:
    """Patches of some of the images, with mean 0 and deviation 1 in each channel, on each direction.

    Args:
        patches: (N, P, C, 49).
        directions: Of length 1, (D, C, 49).
        keeps: Which images count, once for each result, (R, N) bool.

    Yields:
        Sorted values (D, n P) float32 of n images, with those images' own mean and deviation.
    """
    first, second = (power.mean(1).double().mean(2) for power in (patches, patches.square()))  # (N, C)
    for keep in keeps:
        mean = first[keep].mean(0)
        deviation = (second[keep].mean(0) - mean.square()).clamp(min=0).sqrt()
        # Far below a grey level: a channel of one value, which would only have its rounding made large.
        scaled = directions / deviation.where(deviation > 1e-3, 1.0).float()[:, None]
        shift = (scaled.sum(2) * mean.float()).sum(1, keepdim=True)
        rows = scaled.flatten(1) @ patches[keep].flatten(2).flatten(0, 1).T - shift
        yield torch.from_numpy(np.sort(rows.numpy(), 1))  # many times as fast as torch's, which also finds the order


def wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean over directions of the integral of |Q_a(u) - Q_b(u)| over u in [0, 1], Q quantiles (Karras et al. 2018).

    Args:
        a: Sorted values, (D, N).
        b: Likewise, (D, M).

    Returns:
        The Wasserstein-1 distance, exact whatever N and M, in the unit of the values.
    """
    if a.shape[1] == b.shape[1]:
        return (a - b).abs().mean(dtype=torch.float64).item()
    n, m = a.shape[1], b.shape[1]
    ends = torch.cat([torch.arange(n + 1) * m, torch.arange(1, m) * n]).sort().values  # in units of 1 / (N M)
    weights, starts = ends.diff().double() / (n * m), ends[:-1].clamp(max=n * m - 1)
    gaps = (a.index_select(1, starts // m) - b.index_select(1, starts // n)).abs_()
    return (gaps.mean(0).double() @ weights).item()


def check_images(real: Tensor, fake: Tensor) -> None:
    """Refuses images whose patches cannot be compared.

    Raises:
        UserError: Images of the two sets differ in their shape, or are smaller than a patch.
    """
    ours, theirs = (tuple(images.shape[1:]) for images in (fake, real))
    if ours != theirs or min(ours[1:]) < SIDE:
        raise UserError(
            f"SlicedWasserstein: found generated images of (channels, height, width) {ours} and real ones of {theirs}, "
            f"expected the same for both and {SIDE} pixels or more.\nSet data.image_size and data.channels to what the "
            "model makes, or leave it out of the metrics."
        )
