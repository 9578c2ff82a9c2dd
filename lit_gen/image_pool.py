"""A history of generated images for the discriminator (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """Hands out older fakes for half of the new ones, so that a discriminator does not forget what it has seen.

    Args:
        size: Images kept; 0 hands out what comes in.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: Tensor | None = None  # (n, C, H, W), n <= size

    def exchange(self, fakes: Tensor) -> Tensor:
        """Images (B, C, H, W) for the discriminator, as many as come in, without gradients.

        Until the pool is full, each image is kept and handed out. Then each is either handed out (probability 1/2) or
        takes the place of a random older one, which is handed out. Random numbers are torch's own, on the CPU.
        """
        fakes = fakes.detach()
        if not self.size:
            return fakes
        if self.images is None or self.images.shape[1:] != fakes.shape[1:]:
            self.images = fakes[:0]
        self.images = self.images.to(fakes.device)  # it comes from a checkpoint on the CPU
        room = self.size - len(self.images)
        if room:
            self.images = torch.cat([self.images, fakes[:room]])
        given = fakes.clone()
        changes, places = torch.rand(len(fakes)) < 0.5, torch.randint(self.size, (len(fakes),))
        for index in range(room, len(fakes)):
            if changes[index]:
                given[index] = self.images[places[index]]
                self.images[places[index]] = fakes[index]
        return given


def deal(pools: Tensor, rank: int, processes: int) -> Tensor:
    """One process's share of the pools in a checkpoint: its own, where there are as many processes as then.

    Args:
        pools: (processes then, n, C, H, W).
        rank: This process.
        processes: Processes now.

    Returns:
        (m, C, H, W).
    """
    if len(pools) == processes:
        return pools[rank].clone()
    images = pools.flatten(0, 1)
    return images[rank::processes][: len(images) // processes].clone()
