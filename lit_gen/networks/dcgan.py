"""DCGAN (Radford et al. 2016, arXiv:1511.06434): strided convolutions all the way, 28, 32, 64 or 128 pixels."""

from typing import Literal

from torch import Tensor, nn

from lit_gen.networks.layers import (
    check_images,
    check_normalization,
    check_positive,
    reset,
    spectral_normed,
    weight_of,
)

SIZES = (28, 32, 64, 128)


def feature_sides(image_size: int) -> list[int]:
    """Sides of the feature maps from the image down to 4x4, each half of the one before; 28 goes 28, 14, 7, 4.

    Stopping at 7x7 judges strokes, not digits: on Mnist5k the step to 4x4 is worth more than doubling the width of D.
    """
    sides = [image_size]
    while sides[-1] > 4:
        sides.append((sides[-1] + 1) // 2)
    return sides


def init_dcgan_layer(layer: nn.Module) -> None:
    """Weights ~ N(0, 0.02), BatchNorm scales ~ N(1, 0.02), biases 0 (Radford et al. 2016, section 4)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(weight_of(layer), 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_running_stats()
        if layer.affine:
            nn.init.normal_(layer.weight, 1.0, 0.02)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class DCGANGenerator(nn.Module):
    """DCGAN generator: project, then one transposed convolution per doubling (Radford et al. 2016, figure 1).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        width: Channels of the largest feature map; they double with every halving of the side.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(self, image_size: int = 64, channels: int = 3, latent_dim: int = 100, width: int = 64) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, latent_dim=latent_dim, width=width)
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.width = width

        sides = feature_sides(image_size)[:0:-1]  # 4 and up; the head doubles the last one
        widths = [width * 2**i for i in reversed(range(len(sides)))]
        # The same map as the transposed convolution of a 1x1 map in other implementations, written as a product.
        project = nn.Sequential(
            nn.Linear(latent_dim, widths[0] * 4**2, bias=False),
            nn.Unflatten(1, (widths[0], 4, 4)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.ModuleList([project])
        for wide, narrow, side in zip(widths, widths[1:], sides[1:], strict=False):
            self.blocks.append(
                nn.Sequential(doubling(wide, narrow, side), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True))
            )
        self.head = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        self.reset_parameters()

    def forward(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from z (B, Z)."""
        x = z
        for block in self.blocks:
            x = block(x)
        return self.head(x).tanh()

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as the paper does."""
        init_dcgan_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class DCGANDiscriminator(nn.Module):
    """DCGAN discriminator: a strided convolution per halving, then one logit (Radford et al. 2016, section 3).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        width: Channels of the largest feature map; they double with every halving of the side.
        normalization: `batch` (the paper: in all blocks but the first), `spectral` (Miyato et al. 2018) or `none`.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        normalization: Literal["none", "batch", "spectral"] = "batch",
    ) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, width=width)
        check_normalization(self, normalization)
        self.image_size = image_size
        self.channels = channels
        self.width = width
        self.normalization = normalization

        sides = feature_sides(image_size)[:-1]
        widths = [channels] + [width * 2**i for i in range(len(sides))]
        self.blocks = nn.ModuleList()
        for i, (narrow, wide, side) in enumerate(zip(widths, widths[1:], sides, strict=False)):
            plain = normalization == "batch" and i == 0
            self.blocks.append(halving(narrow, wide, side, "none" if plain else normalization))
        self.head = nn.Linear(widths[-1] * 4**2, 1)
        if normalization == "spectral":
            self.head = spectral_normed(self.head)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) from images (B, C, H, W) in [-1, 1]."""
        for block in self.blocks:
            x = block(x)
        return self.head(x.flatten(1)).squeeze(1)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as the paper does."""
        init_dcgan_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


def doubling(wide: int, narrow: int, side: int) -> nn.ConvTranspose2d:
    """(B, wide, H, W) -> (B, narrow, side, side), where side is 2 H, or 7 from 4."""
    return nn.ConvTranspose2d(wide, narrow, 3 if side % 2 else 4, stride=2, padding=1, bias=False)


def halving(narrow: int, wide: int, side: int, normalization: str) -> nn.Sequential:
    """(B, narrow, H, W) -> (B, wide, H/2, W/2), where the odd side 7 becomes 4."""
    kernel = 3 if side % 2 else 4
    conv = nn.Conv2d(narrow, wide, kernel, stride=2, padding=1, bias=normalization != "batch")
    if normalization == "spectral":
        conv = spectral_normed(conv)
    norm = [nn.BatchNorm2d(wide)] if normalization == "batch" else []
    return nn.Sequential(conv, *norm, nn.LeakyReLU(0.2, inplace=True))
