"""Do patches of generated images look like patches of real ones? No network is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.jackknife import block_of

SIDE = 7  # of a patch
SMALLEST = 16  # side of the coarsest level, less than twice of it
AT_ONCE = 256  # images
KERNEL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16  # Burt & Adelson 1983, section 2, a = 0.375


class SlicedWasserstein(Metric):
    """Sliced Wasserstein distance of patches at the levels of a Laplacian pyramid (Karras et al. 2018, section 5).

    arXiv:1710.10196. Patches of 7x7 at places drawn once for all images, brought to mean 0 and deviation 1 in each
    channel of a set, are projected on random directions; the distance of two sets is the mean difference of their
    sorted projections, here at equal quantiles, since there are rarely as many real images as generated ones. `swd` is
    the mean over levels, times 1000 as in the paper's tables.

    It depends on the numbers of images: compare it at the same ones, and with what real images get.

    Args:
        patches: Of each image at each level.
        directions: Random directions.
        quantiles: At which the projections are compared.
        seed: Of places and directions.

    Raises:
        UserError: One of these is less than 1.
    """

    better: ClassVar[dict[str, Better]] = {"swd": "lower"}
    needs = ("real_images", "fake_images")
    within = (0.0, float("inf"))
    space = "pixels"  # no extractor's

    def __init__(self, patches: int = 32, directions: int = 64, quantiles: int = 256, seed: int = 0) -> None:
        for name, value in (("patches", patches), ("directions", directions), ("quantiles", quantiles)):
            if value < 1:
                raise UserError(f"SlicedWasserstein: found {name} {value}, expected 1 or more. Type {name}: 64, say.")
        self.patches = patches
        self.directions = directions
        self.quantiles = quantiles
        self.seed = seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"swd": self.measured(evidence, 0)[0]["swd"]}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        return self.measured(evidence, blocks)[1]

    def measured(self, evidence: Evidence, blocks: int) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
        """Patches are cut once; what is left out is left out of their projections."""
        sets = [self._patches(images) for images in (evidence.real_images, evidence.fake_images)]
        levels = zip(*sets, strict=True)
        found = torch.stack([self._level(real, fake, blocks) for real, fake in levels]).mean(0).tolist()
        return {"swd": found[0]}, {"swd": found[1:]}

    def _patches(self, images: Tensor) -> list[Tensor]:
        """Of each level, finest first, (N, patches, C * 49)."""
        random = torch.Generator().manual_seed(self.seed)
        found: list[list[Tensor]] = []
        places: list[Tensor] = []
        for part in images.split(AT_ONCE):
            for number, level in enumerate(laplacian_pyramid(part.float())):
                if number == len(places):
                    room = torch.tensor(level.shape[-2:]) - SIDE + 1
                    places.append((torch.rand(self.patches, 2, generator=random) * room).long())
                    found.append([])
                cut = [level[..., y : y + SIDE, x : x + SIDE].flatten(1) for y, x in places[number].tolist()]
                found[number].append(torch.stack(cut, 1))
        return [torch.cat(parts) for parts in found]

    def _level(self, real: Tensor, fake: Tensor, blocks: int) -> Tensor:
        """(1 + blocks,): the distance of all patches, and of those without each block of images."""
        random = torch.Generator().manual_seed(self.seed)
        directions = F.normalize(torch.randn(real.shape[-1], self.directions, generator=random), dim=0)
        at = (torch.arange(self.quantiles) + 0.5) / self.quantiles
        quantiles = [quantiles_without(normalised(patches) @ directions, at, blocks) for patches in (real, fake)]
        return 1000 * (quantiles[0] - quantiles[1]).abs().double().mean((1, 2))


def quantiles_without(projections: Tensor, at: Tensor, blocks: int) -> Tensor:
    """Quantiles of all projections, and of those without each block of images; sorted only once.

    Args:
        projections: (N, P, D), of P patches of each of N images on D directions.
        at: (Q,) in (0, 1).
        blocks: Of the jackknife.

    Returns:
        (1 + blocks, D, Q).
    """
    n, patches, _ = projections.shape
    values, places = projections.flatten(0, 1).T.contiguous().sort(1)
    found = [values[:, (at * values.shape[1]).long()]]
    if blocks:
        block = block_of(n, blocks).repeat_interleave(patches)[places]
    for number in range(blocks):  # each direction loses as many of them: all patches of the block's images
        kept = values[block != number].view(len(values), -1)
        found.append(kept[:, (at * kept.shape[1]).long()])
    return torch.stack(found)


def normalised(patches: Tensor) -> Tensor:
    """Patches (N, P, C * 49) with mean 0 and deviation 1 in each channel of the whole set."""
    channels = patches.unflatten(2, (-1, SIDE**2))
    deviation, mean = torch.std_mean(channels, (0, 1, 3), keepdim=True, correction=0)
    return ((channels - mean) / deviation.clamp_min(1e-8)).flatten(2)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """What each level adds to the next coarser one, finest first, and the coarsest itself (Burt & Adelson 1983).

    Args:
        images: (B, C, H, W), H and W at least 7.

    Returns:
        (B, C, H, W), (B, C, H/2, W/2) and so on, as long as the sides of the next are 14 at least.
    """
    levels = []
    while min(images.shape[-2:]) // 2 >= SMALLEST - 2:  # 28 has 14
        smaller = blurred(images)[..., ::2, ::2]
        levels.append(images - F.interpolate(smaller, size=images.shape[-2:], mode="bilinear"))
        images = smaller
    return [*levels, images]


def blurred(images: Tensor) -> Tensor:
    """Images (B, C, H, W) under the 5x5 binomial kernel."""
    kernel = (KERNEL[:, None] * KERNEL).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=images.shape[1])
