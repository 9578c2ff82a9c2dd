"""Images themselves in the place of features, for metrics that ask no network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_gen.metrics.extractor import Extractor


class Pixels(Extractor):
    """The values of an image in a row, (B, C * H * W), in [-1, 1].

    Args:
        shape: (C, H, W) of the images.
        device: Where they come from.
    """

    name = "pixels"

    def __init__(self, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.n_features = shape[0] * shape[1] * shape[2]
        self.place = nn.Parameter(torch.zeros(1, device=device), requires_grad=False)  # a device to be found on

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def images(self, rows: Tensor | None) -> Tensor | None:
        """(N, C, H, W) from rows; None where another process has them."""
        return None if rows is None else rows.unflatten(1, self.shape)
