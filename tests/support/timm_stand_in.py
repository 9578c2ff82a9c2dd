"""A stand-in for timm that cannot download."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn


class Tiny(nn.Module):
    """As timm's models are: a vector by calling it, maps by forward_features."""

    pretrained_cfg = {"input_size": (3, 16, 16), "mean": (0.5, 0.25, 0.0), "std": (0.5, 0.5, 1.0)}

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 4, stride=4)
        self.tokens = tokens

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        maps = self.conv(x)
        return maps.flatten(2).mT if self.tokens else maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


def stand_in() -> ModuleType:
    """To be put into `sys.modules`."""
    module = ModuleType("timm")
    names = ["tiny_net", "tiny_vit"]

    def create_model(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        assert num_classes == 0
        if pretrained:
            raise ConnectionError("no route to the hub\nand much more")
        return Tiny(tokens=name == "tiny_vit")

    module.is_model, module.list_models, module.create_model = names.__contains__, lambda: names, create_model
    return module
