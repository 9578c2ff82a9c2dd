"""ResNets of SNGAN (Miyato et al. 2018, arXiv:1802.05957, appendix B.4): residual blocks, spectral norm in D."""

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.networks.layers import check_images, check_positive, reset, spectral_normed, weight_of

SIZES = (28, 32, 64, 128)

# Widths as multiples of `width`: the projection of z, then each block. Each block of the generator doubles the side.
# With width 64 these are tables 3 to 6 of the paper; 28 pixels start from 7x7 and so need one block fewer than 32.
GENERATOR_WIDTHS = {28: (4, 4, 4), 32: (4, 4, 4, 4), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}
# The discriminator's blocks halve the side until it is 7 (28 pixels), 8 (32) or 4 (64, 128); the rest keep it.
DISCRIMINATOR_WIDTHS = {28: (2, 2, 2, 2), 32: (2, 2, 2, 2), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16)}
HALVINGS = {28: 2, 32: 2, 64: 4, 128: 5}


class ResNetGenerator(nn.Module):
    """SNGAN generator: project, upsampling residual blocks, BatchNorm, ReLU, 3x3 convolution (Miyato et al. 2018, B.4).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        width: Channels of the largest feature map at 64 and 128 pixels, a quarter of all maps at 28 and 32.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(self, image_size: int = 64, channels: int = 3, latent_dim: int = 128, width: int = 64) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, latent_dim=latent_dim, width=width)
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.width = width

        start = 7 if image_size == 28 else 4
        widths = [width * multiple for multiple in GENERATOR_WIDTHS[image_size]]
        project = nn.Sequential(
            nn.Linear(latent_dim, widths[0] * start**2),
            nn.Unflatten(1, (widths[0], start, start)),
        )
        ups = [UpBlock(before, after) for before, after in zip(widths, widths[1:], strict=False)]
        self.blocks = nn.ModuleList([project, *ups])
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.reset_parameters()

    def forward(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from z (B, Z)."""
        x = z
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).relu()).tanh()

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as the authors' code does."""
        init_resnet_layer(layer, is_head=layer is self.head)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class ResNetDiscriminator(nn.Module):
    """SNGAN discriminator: residual blocks, sum over pixels, one logit, all spectral-normed (Miyato et al. 2018, B.4).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        width: Channels of the largest feature map at 64 and 128 pixels, half of all maps at 28 and 32.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(self, image_size: int = 64, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, width=width)
        self.image_size = image_size
        self.channels = channels
        self.width = width

        widths = [channels] + [width * multiple for multiple in DISCRIMINATOR_WIDTHS[image_size]]
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            self.blocks.append(DownBlock(before, after, halve=i < HALVINGS[image_size], on_pixels=i == 0))
        self.head = spectral_normed(nn.Linear(widths[-1], 1))
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) from images (B, C, H, W) in [-1, 1]."""
        for block in self.blocks:
            x = block(x)
        return self.head(x.relu().sum((2, 3))).squeeze(1)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as the authors' code does."""
        init_resnet_layer(layer, is_head=layer is self.head)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class UpBlock(nn.Module):
    """Two convolutions after BatchNorm and ReLU, plus a 1x1 shortcut: (B, I, H, W) -> (B, O, 2H, 2W).

    Args:
        before: Channels in.
        after: Channels out.
        make_norm: From channels to the normalisation; one that takes labels gets what follows x in the call.
    """

    def __init__(self, before: int, after: int, make_norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm1 = make_norm(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = make_norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, *cond: Tensor) -> Tensor:
        h = self.conv1(_upsample(self.norm1(x, *cond).relu()))
        h = self.conv2(self.norm2(h, *cond).relu())
        # A 1x1 convolution and nearest upsampling commute; this order costs a quarter.
        return h + _upsample(self.shortcut(x))


class DownBlock(nn.Module):
    """Two convolutions after ReLU, average pool, plus a 1x1 shortcut: (B, I, H, W) -> (B, O, H/2, W/2) or (B, O, H, W).

    Args:
        before: Channels in.
        after: Channels out.
        halve: Whether to pool.
        on_pixels: The first block: no ReLU before pixels, whose sign carries meaning.
    """

    def __init__(self, before: int, after: int, halve: bool, on_pixels: bool) -> None:
        super().__init__()
        self.halve = halve
        self.on_pixels = on_pixels
        self.conv1 = spectral_normed(nn.Conv2d(before, after, 3, padding=1))
        self.conv2 = spectral_normed(nn.Conv2d(after, after, 3, padding=1))
        # Where nothing changes its shape, the shortcut is the identity.
        self.shortcut = spectral_normed(nn.Conv2d(before, after, 1)) if halve or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.on_pixels else x.relu())
        h = self.conv2(h.relu())
        if not self.halve:
            return h + self.shortcut(x)
        # A 1x1 convolution and average pooling commute; this order costs a quarter.
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def init_resnet_layer(layer: nn.Module, is_head: bool) -> None:
    """Glorot uniform, times sqrt(2) in the 3x3 convolutions of residual blocks; biases 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        in_residual = isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) and not is_head
        nn.init.xavier_uniform_(weight_of(layer), gain=math.sqrt(2) if in_residual else 1.0)
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_parameters()  # scale 1, shift 0, running statistics afresh
