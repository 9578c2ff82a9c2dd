"""A discriminator that sees images through a frozen network of ImageNet, at four scales, mixed at random, and as is."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.efficientnet_lite import TAPS, EfficientNetLite
from lit_gen.networks.features import FrozenFeatures, resized, with_channels
from lit_gen.networks.layers import check_positive, reset, spectral_normed, weight_of

STRIDES = tuple(TAPS)  # 4, 8, 16, 32
SLOPE = 0.2
RGB = 3
LEAST_SIZE = 32  # at stride 32 that is a map of 1x1


class ProjectedFeatures(FrozenFeatures):
    """Random projections of an EfficientNet-Lite's maps at four scales (Sauer et al. 2021, section 3.2).

    Each map is brought to mean square 1, its channels are mixed (cross-channel mixing), and from coarse to fine each is
    joined by the one above it and mixed again (cross-scale mixing). The mixing is random, linear and never learns; it
    lies in the checkpoint like every weight.

    Args:
        backbone: `lite0`, or `lite1`, which is a little deeper.
        input_size: Images are brought to this height and width first.
        width: Channels of the mixed maps.
        image_size: Height and width to which the images are brought for a fifth map, their own pixels; None leaves it
            out.

    Raises:
        UserError: An argument is outside these ranges, or the package of the weights is missing.
    """

    def __init__(
        self,
        backbone: Literal["lite0", "lite1"] = "lite0",
        input_size: int = 64,
        width: int = 64,
        image_size: int | None = None,
    ) -> None:
        super().__init__(input_size)
        check_positive(self, width=width)
        if input_size % LEAST_SIZE:
            raise UserError(
                f"ProjectedFeatures: found input_size {input_size}, expected a multiple of {LEAST_SIZE}.\n"
                f"Type input_size: {max(round(input_size / LEAST_SIZE), 2) * LEAST_SIZE}, say."
            )
        self.backbone = backbone
        self.width = width
        self.image_size = image_size
        self.network = EfficientNetLite(backbone)
        del self.network.blocks[max(block for block, _ in TAPS.values()) + 1 :], self.network.head
        channels = [channels for _, channels in TAPS.values()]
        self.channel_mixing = nn.ModuleList(nn.Conv2d(number, width, 1, bias=False) for number in channels)
        self.scale_mixing = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in channels)
        for conv in (*self.channel_mixing, *self.scale_mixing):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        self.shapes = [(width, input_size // stride) for stride in STRIDES]  # channels and side of each map
        if image_size is not None:
            self.shapes.append((RGB, image_size))
        self.out_features = sum(channels * side**2 for channels, side in self.shapes)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """(B, F): the maps (B, width, S, S), S = input_size / 4, 8, 16, 32, one after the other, then the pixels."""
        images = with_channels(images, RGB)
        maps = self.network.features_at(resized(images, self.input_size))
        mixed: list[Tensor] = []
        for scale in reversed(range(len(maps))):
            x = self.channel_mixing[scale](maps[scale] / self.root_mean_square(scale))
            if mixed:
                above = F.interpolate(mixed[0], size=x.shape[-2:], mode="bilinear")
                x = (x + above) / math.sqrt(2)
            mixed.insert(0, self.scale_mixing[scale](x))
        if self.image_size is not None:
            mixed.append(resized(images, self.image_size).to(mixed[0].dtype))
        return torch.cat([x.flatten(1) for x in mixed], 1)

    def maps(self, features: Tensor) -> list[Tensor]:
        """The four maps, finest first, and the pixels if there are any, from what `forward` returned."""
        parts = features.split([channels * side**2 for channels, side in self.shapes], 1)
        return [part.unflatten(1, (c, side, side)) for part, (c, side) in zip(parts, self.shapes, strict=True)]

    def root_mean_square(self, scale: int) -> Tensor:
        """Of this scale's map on the images that the backbone learnt from, a scalar.

        A map is a sum of BatchNorm outputs, whose means and variances are their own weights. Taken from a first batch
        of the data instead, the scale would differ between processes.
        """
        block = self.network.blocks[TAPS[STRIDES[scale]][0]]
        norms = [unit.project.norm for unit in block]  # the first unit of these blocks has no shortcut, all others have
        mean = torch.stack([norm.bias for norm in norms]).sum(0)
        variance = torch.stack([norm.weight.square() for norm in norms]).sum(0)
        return (mean.square() + variance).mean().sqrt()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, backbone={self.backbone}, width={self.width}, image_size={self.image_size}"


class ProjectedDiscriminator(nn.Module):
    """Four small discriminators on frozen, randomly mixed features (Sauer et al. 2021, arXiv:2111.01007, eq. 4).

    Feature transfer in its strongest form: nothing but the heads learns, so few images suffice. `features(images)` is
    the front that GAN computes once for the fakes and uses in both updates. Each map is halved by convolutions with
    spectral norm and BatchNorm down to 4x4 or less, and there becomes one logit. With `image_size`, a fifth head of the
    same kind judges the images' own pixels: the backbone hardly sees what a generator does to the finest detail.

    Args:
        backbone: `lite0`, or `lite1`, which is a little deeper.
        input_size: Images are brought to this height and width for the backbone, a multiple of 32.
        width: Channels of the mixed maps and of the heads.
        n_classes: Number of classes for heads that project on the label (Miyato & Koyama 2018, eq. 3); None takes no
            labels.
        image_size: Height and width of the images that the fifth head judges; None leaves it out.

    Raises:
        UserError: An argument is outside these ranges, or the package of the weights is missing.
    """

    def __init__(
        self,
        backbone: Literal["lite0", "lite1"] = "lite0",
        input_size: int = 64,
        width: int = 64,
        n_classes: int | None = None,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        if n_classes is not None:
            check_positive(self, n_classes=n_classes)
        if image_size is not None and image_size < 8:
            raise UserError(f"ProjectedDiscriminator: found image_size {image_size}, expected 8 or more.\n"
                            "Type image_size: 32, say, as in the data.")  # fmt: skip
        self.features = ProjectedFeatures(backbone, input_size, width, image_size)
        self.backbone = backbone
        self.input_size = input_size
        self.width = width
        self.n_classes = n_classes
        self.image_size = image_size
        self.blocks = nn.ModuleList(scale_blocks(channels, side, width) for channels, side in self.features.shapes)
        self.head = nn.ModuleList(
            spectral_normed(nn.Conv2d(width, 1, last_side(side), bias=False)) for _, side in self.features.shapes
        )
        self.label_embedding = None
        if n_classes is not None:
            self.label_embedding = nn.ModuleList(spectral_normed(nn.Embedding(n_classes, width)) for _ in self.blocks)
        self.reset_parameters()

    def forward(self, x: Tensor, *labels: Tensor) -> Tensor:
        """Logits (B, 4), finest scale first, or (B, 5), from `features(images)` (B, F) and labels (B,) if any."""
        logits = []
        for scale, x_scale in enumerate(self.features.maps(x)):
            h = self.blocks[scale](x_scale)
            judged = self.head[scale](h).flatten(1)
            if self.label_embedding is not None:
                judged = judged + (self.label_embedding[scale](*labels) * h.mean((2, 3))).sum(1, keepdim=True)
            logits.append(judged)
        return torch.cat(logits, 1)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place: the variance stays through LeakyReLU (He et al. 2015, eq. 15)."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(weight_of(layer), a=SLOPE)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(weight_of(layer), 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all but the frozen features."""
        for module in (self.blocks, self.head, self.label_embedding) if part is None else (part,):
            if module is not None:
                reset(self, module)


def last_side(side: int) -> int:
    """Of the map that `scale_blocks` leaves: 4 from powers of two, 3 from sides such as 24, 12 and 6."""
    while side > 4:
        side //= 2
    return side


def scale_blocks(channels: int, side: int, width: int) -> nn.Sequential:
    """(B, channels, side, side) -> (B, width, S, S), S at most 4; a map that is as small already keeps its size."""
    layers: list[nn.Module] = []
    while side > 4 or not layers:
        kernel, stride = (4, 2) if side > 4 else (3, 1)
        # Pixels begin with a quarter of the width: at full width their first layers would cost more than the backbone.
        out = min(max(2 * channels, width // 4), width)
        layers.append(spectral_normed(nn.Conv2d(channels, out, kernel, stride, 1, bias=False)))
        if channels != RGB:  # pixels are not normalised in their first layer, as in DCGAN
            layers.append(nn.BatchNorm2d(out))
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        channels = out
        side //= stride
    return nn.Sequential(*layers)
