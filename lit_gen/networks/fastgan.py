"""FastGAN (Liu et al. 2021, arXiv:2101.04775): a light generator with skip-layer excitation, 28 to 256 pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.networks.dcgan import init_dcgan_layer
from lit_gen.networks.layers import check_images, check_positive, reset

SIZES = (28, 32, 64, 128, 256)
FEWEST = 8  # channels of the widest maps, where halving at every doubling would leave next to nothing


class FastGANGenerator(nn.Module):
    """FastGAN's generator: project, then upsampling blocks; early maps excite late ones (Liu et al. 2021, section 3.1).

    As light as it gets: one convolution per doubling, and no noise, so that a z is one image. An early map excites the
    one of 16 times its side, of 4 times at 28 and 32 pixels, where there is no other.

    Args:
        image_size: Height and width of the images: 28, 32, 64, 128 or 256 pixels.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        width: Channels of the maps of a quarter of the image's side; they double with every halving of the side
            and halve with every doubling, down to 8.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(self, image_size: int = 64, channels: int = 3, latent_dim: int = 128, width: int = 32) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, latent_dim=latent_dim, width=width)
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.width = width

        sides = [7 if image_size == 28 else 4]
        while sides[-1] < image_size:
            sides.append(2 * sides[-1])
        widths = [channels_at(image_size // side, width) for side in sides]
        self.span = 4 if image_size >= 64 else 2  # doublings from an early map to the one that it excites
        project = nn.Sequential(
            nn.Linear(latent_dim, 2 * widths[0] * sides[0] ** 2, bias=False),
            nn.Unflatten(1, (2 * widths[0], sides[0], sides[0])),
            nn.BatchNorm2d(2 * widths[0]),
            Gate(widths[0]),
        )
        self.blocks = nn.ModuleList([project])
        for i in range(1, len(sides)):
            early = widths[i - self.span] if i >= self.span else None
            self.blocks.append(UpsamplingBlock(widths[i - 1], widths[i], early))
        self.head = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.reset_parameters()

    def forward(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from z (B, Z)."""
        maps = [self.blocks[0](z)]
        for i, block in enumerate(self.blocks[1:], start=1):
            maps.append(block(maps[-1], maps[i - self.span] if i >= self.span else None))
        return self.head(maps[-1]).tanh()

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place: weights ~ N(0, 0.02), as DCGAN's and the authors' code."""
        init_dcgan_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


def channels_at(halvings: int, width: int) -> int:
    """Channels of a map whose side is the image's divided by `halvings`, where a quarter has `width`."""
    return max(width * halvings // 4, min(width, FEWEST))


class UpsamplingBlock(nn.Module):
    """Nearest upsampling, 3x3 convolution, BatchNorm, gated linear unit: (B, I, H, W) -> (B, O, 2H, 2W).

    Args:
        before: Channels in.
        after: Channels out.
        early: Channels of the early map that excites what comes out; None for none.
    """

    def __init__(self, before: int, after: int, early: int | None = None) -> None:
        super().__init__()
        self.convolution = UpsamplingConvolution(before, 2 * after, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2 * after)
        self.gate = Gate(after)
        self.excitation = None if early is None else SkipLayerExcitation(early, after)

    def forward(self, x: Tensor, early: Tensor | None = None) -> Tensor:
        x = self.gate(self.norm(self.convolution(x)))
        return x if self.excitation is None else x * self.excitation(early)


class UpsamplingConvolution(nn.Conv2d):
    """A 3x3 convolution of the map upsampled to twice its side by its nearest values.

    Both are linear, so one transposed 4x4 convolution does the same with 4 products a pixel instead of 9.
    """

    def forward(self, x: Tensor) -> Tensor:
        # Each small pixel stands for 2x2 equal ones: the taps that fall on the same of them are added up.
        taps = self.weight.flip(2, 3).transpose(0, 1)
        rows = F.pad(taps, (0, 0, 0, 1)) + F.pad(taps, (0, 0, 1, 0))
        kernel = F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class Gate(nn.GLU):
    """Gated linear unit (Dauphin et al. 2017, arXiv:1612.08083, eq. 1): (B, 2 C, H, W) -> (B, C, H, W).

    Args:
        out_channels: C, for those who ask a block how many channels it gives.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__(dim=1)
        self.out_channels = out_channels


class SkipLayerExcitation(nn.Module):
    """A factor in (0, 1) for each channel of a late map, read from an early one (Liu et al. 2021, eq. 1, figure 3).

    Args:
        before: Channels of the early map.
        after: Channels of the late map.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.squeeze = nn.Conv2d(before, after, 4)
        self.activation = nn.LeakyReLU(0.1)
        self.excite = nn.Conv2d(after, after, 1)

    def forward(self, early: Tensor) -> Tensor:
        """(B, O, 1, 1) from (B, I, H, W)."""
        return self.excite(self.activation(self.squeeze(self.pool(early)))).sigmoid()
