"""What every augmentation has in common, and the transforms that several of them are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Augmentation(nn.Module, ABC):
    """Base of the augmentations that stand before a discriminator, for reals and fakes in both updates alike.

    Only so does the generator learn the images themselves, and not their augmented looks (Zhao et al. 2020,
    arXiv:2006.10738, section 3.2). Random numbers are torch's own, drawn on the images' device.
    """

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Augmented images, each drawn for by itself.

        Args:
            images: (B, C, H, W) in [-1, 1]; gradients flow back to them.

        Returns:
            The same shape; colours may leave [-1, 1] a little.
        """

    @property
    @abstractmethod
    def kinds(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What it is composed of: by name, a transform of images (B, C, H, W) that does this alone, to all of them."""

    @property
    def strength(self) -> Tensor | None:
        """How much it does just now, a scalar to be logged; None where that never changes."""
        return None

    def observe(self, real_logits: Tensor) -> None:
        """Told after each update of the discriminator what it said of the augmented real images; does nothing here.

        Args:
            real_logits: (B, ...), more than 0 where the discriminator took an image for real.
        """


def strength_of(augment: Augmentation | None) -> dict[str, Tensor]:
    """What a model logs of its augmentation: `augment_strength`, where there is one that changes."""
    strength = None if augment is None else augment.strength
    return {} if strength is None else {"augment_strength": strength.clone()}


def per_image(images: Tensor) -> Tensor:
    """A number in [0, 1) for each image, (B, 1, 1, 1), uniform."""
    return torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)


def recolour(images: Tensor, own: Tensor, grey: Tensor, shift: Tensor) -> Tensor:
    """own * x + grey * (x's mean over channels) + shift: brightness, contrast and saturation in one go.

    Args:
        images: (B, C, H, W).
        own: (B, 1, 1, 1), as are the other two.
        grey: Where there is one channel it is its own mean.
        shift: Added to every channel.
    """
    if images.shape[1] == 1:
        return torch.addcmul(shift, images, own + grey)
    return torch.addcmul(torch.addcmul(shift, images.mean(1, keepdim=True), grey), images, own)


def cut_out(images: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Black-out of a rectangle, half as high and as wide as the image, to 0, the middle grey (DeVries & Taylor 2017).

    Its centre is uniform over the image, so that a part of it may lie outside (arXiv:1708.04552, section 3).

    Args:
        images: (B, C, H, W).
        chosen: (B, 1, 1, 1) bool, those that it is done to; None does it to all.
    """
    hidden = _band(images, 2) & _band(images, 3)
    return images.masked_fill(hidden if chosen is None else hidden & chosen, 0.0)


def _band(images: Tensor, dim: int) -> Tensor:
    """Of each image a random half of its rows (dim 2) or columns (dim 3), bool, (B, 1, H, 1) or (B, 1, 1, W)."""
    size = images.shape[dim]
    places = torch.arange(size, device=images.device).view([-1 if axis == dim else 1 for axis in range(4)])
    first = torch.randint(size + 1, (len(images), 1, 1, 1), device=images.device) - size // 4
    return (places >= first) & (places < first + size // 2)
