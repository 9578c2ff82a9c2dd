"""Convolutional encoder and decoder of a variational autoencoder, 28, 32, 64 or 128 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_gen.networks.dcgan import SIZES, feature_sides
from lit_gen.networks.layers import check_images, check_positive, reset, weight_of

SLOPE = 0.2


def init_vae_layer(network: nn.Module, layer: nn.Module) -> None:
    """Weights that keep the variance through LeakyReLU (He et al. 2015, eq. 15), a tenth of that in the head; biases 0.

    With a quiet head the posterior begins near the prior and the decoder near grey.
    """
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(layer.weight)
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        return
    if isinstance(layer, nn.ConvTranspose2d):  # each output sees a quarter of the kernel at stride 2
        inputs = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] / 4
    else:
        inputs = layer.weight[0].numel()
    gain = 0.1 if layer is network.head else nn.init.calculate_gain("leaky_relu", SLOPE)
    nn.init.normal_(weight_of(layer), 0.0, gain / inputs**0.5)
    nn.init.zeros_(layer.bias)


def embedding(n_classes: int | None, size: int) -> nn.Embedding | None:
    """What a conditional network learns of each class; None for a network that takes no labels."""
    return None if n_classes is None else nn.Embedding(n_classes, size)


def join(x: Tensor, embedded: nn.Embedding | None, labels: tuple[Tensor, ...]) -> Tensor:
    """x (B, F) with the embedded labels (B,) behind it, where the network takes labels."""
    return x if embedded is None else torch.cat([x, embedded(*labels)], 1)


class ConvEncoder(nn.Module):
    """q(z|x): a strided convolution per halving, a hidden layer, then mean and log variance (Kingma & Welling 2014).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        width: Channels of the largest feature map; they double with every halving of the side. The hidden layer has
            8 times as many.
        n_classes: Number of classes for an encoder that takes labels, joined to the features; None takes none.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        latent_dim: int = 32,
        width: int = 32,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, latent_dim=latent_dim, width=width, **_classes(n_classes))
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.width = width
        self.n_classes = n_classes

        sides = feature_sides(image_size)[:-1]
        widths = [channels] + [width * 2**i for i in range(len(sides))]
        hidden = 8 * width
        self.embedding = embedding(n_classes, hidden)
        self.blocks = nn.ModuleList()
        for narrow, wide, side in zip(widths, widths[1:], sides, strict=False):
            kernel = 3 if side % 2 else 4  # 3 makes 4 of 7
            conv = nn.Conv2d(narrow, wide, kernel, stride=2, padding=1)
            self.blocks.append(nn.Sequential(conv, nn.LeakyReLU(SLOPE, inplace=True)))
        joined = widths[-1] * 4**2 + (hidden if n_classes else 0)
        self.blocks.append(nn.Sequential(nn.Linear(joined, hidden), nn.LeakyReLU(SLOPE, inplace=True)))
        self.head = nn.Linear(hidden, 2 * latent_dim)
        self.reset_parameters()

    def forward(self, x: Tensor, *labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z, (B, Z) each, from images (B, C, H, W) in [-1, 1]."""
        for block in self.blocks[:-1]:
            x = block(x)
        mu, logvar = self.head(self.blocks[-1](join(x.flatten(1), self.embedding, labels))).chunk(2, 1)
        return mu, logvar

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_vae_layer(self, layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class ConvDecoder(nn.Module):
    """The raw output behind p(x|z): two linear layers, then a transposed convolution per doubling; no final squashing.

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        width: Channels of the largest feature map; they double with every halving of the side. The hidden layer has
            8 times as many.
        n_classes: Number of classes for a decoder that takes labels, joined to z; None takes none.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        latent_dim: int = 32,
        width: int = 32,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, latent_dim=latent_dim, width=width, **_classes(n_classes))
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.width = width
        self.n_classes = n_classes

        sides = feature_sides(image_size)[:0:-1]  # 4 and up; the head doubles the last one
        widths = [width * 2**i for i in reversed(range(len(sides)))]
        hidden = 8 * width
        self.embedding = embedding(n_classes, hidden)
        joined = latent_dim + (hidden if n_classes else 0)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(joined, hidden), nn.LeakyReLU(SLOPE, inplace=True)),
                nn.Sequential(
                    nn.Linear(hidden, widths[0] * 4**2),
                    nn.Unflatten(1, (widths[0], 4, 4)),
                    nn.LeakyReLU(SLOPE, inplace=True),
                ),
            ]
        )
        for wide, narrow, side in zip(widths, widths[1:], sides[1:], strict=False):
            kernel = 3 if side % 2 else 4  # 3 makes 7 of 4
            conv = nn.ConvTranspose2d(wide, narrow, kernel, stride=2, padding=1)
            self.blocks.append(nn.Sequential(conv, nn.LeakyReLU(SLOPE, inplace=True)))
        self.head = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        self.reset_parameters()

    def forward(self, z: Tensor, *labels: Tensor) -> Tensor:
        """What a likelihood makes images of, (B, C, H, W), from z (B, Z)."""
        x = join(z, self.embedding, labels)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_vae_layer(self, layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


def _classes(n_classes: int | None) -> dict[str, int]:
    return {} if n_classes is None else {"n_classes": n_classes}
