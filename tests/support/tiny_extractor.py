"""An extractor of almost no weights, for tests of what is done with features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_gen.metrics.extractor import Extractor


class TinyExtractor(Extractor):
    """Means of five random 3x3 convolutions of grey images, and a random classifier of three classes."""

    name = "tiny"
    n_features = 5

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.conv, self.head = nn.Conv2d(1, 5, 3), nn.Linear(5, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=random)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.mean(1, keepdim=True)).tanh().mean((2, 3))

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features)
