"""Differentiable augmentation of a fixed strength."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_gen.augmentations.base import Augmentation, cut_out, per_image, recolour
from lit_gen.errors import UserError, nearest

GREATEST_SHIFT = 8  # a part of the side: 1/8 of it


class DiffAugment(Augmentation):
    """Every image of the discriminator's is changed, always as much (Zhao et al. 2020, arXiv:2006.10738, section 3.2).

    Args:
        policy: What is done, of `color` (brightness +-0.5 on the scale of [-1, 1], saturation times 0 to 2, contrast
            times 0.5 to 1.5), `translation` (by up to 1/8 of the side, zeros come in) and `cutout` (a square of half
            the side becomes 0); all three by default.

    Raises:
        UserError: The policy is empty, names something else, or names something twice.
    """

    def __init__(self, policy: list[str] | None = None) -> None:
        super().__init__()
        known = list(self._transforms())
        self.policy = known if policy is None else policy
        wrong = next((name for name in self.policy if name not in known), None)
        if wrong is not None or not self.policy or len(set(self.policy)) < len(self.policy):
            raise UserError(
                f"DiffAugment: found policy {self.policy}, expected some of {', '.join(known)}, each once."
                f"{nearest(wrong or '', known)}\nType policy: [{', '.join(known)}], or leave `augment` out."
            )

    def forward(self, images: Tensor) -> Tensor:
        for transform in self.kinds.values():
            images = transform(images)
        return images

    @property
    def kinds(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return {name: self._transforms()[name] for name in self.policy}

    @staticmethod
    def _transforms() -> dict[str, Callable[[Tensor], Tensor]]:
        return {"color": jitter, "translation": shift, "cutout": cut_out}


def jitter(images: Tensor) -> Tensor:
    """Brightness +-0.5, then saturation times 0 to 2, then contrast times 0.5 to 1.5 about the image's own mean."""
    brightness, saturation, contrast = (per_image(images) for _ in range(3))
    saturation, contrast = 2 * saturation, contrast + 0.5
    mean = images.mean((1, 2, 3), keepdim=True)
    # contrast * (saturation * (x - grey) + grey - mean) + mean + brightness, as saturation leaves the mean alone
    moved = (1 - contrast) * mean + brightness - 0.5
    return recolour(images, contrast * saturation, contrast * (1 - saturation), moved)


def shift(images: Tensor) -> Tensor:
    """By whole pixels, up to 1/8 of the side in each direction; zeros come in."""
    height, width = images.shape[2:]
    most_y, most_x = (round(side / GREATEST_SHIFT) for side in (height, width))
    padded = F.pad(images, (most_x, most_x, most_y, most_y))
    rows = _places(images, height, most_y).unsqueeze(2)
    columns = _places(images, width, most_x).unsqueeze(1)
    places = (rows * padded.shape[3] + columns).flatten(1)
    channels = images.shape[1]
    moved = padded.flatten(2).gather(2, places.unsqueeze(1).expand(-1, channels, -1))
    return moved.view(images.shape)


def _places(images: Tensor, size: int, most: int) -> Tensor:
    """For each image, the rows or columns (B, size) of the padded one that it now shows."""
    start = torch.randint(2 * most + 1, (len(images), 1), device=images.device)
    return start + torch.arange(size, device=images.device)
