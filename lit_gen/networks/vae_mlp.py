"""Fully connected encoder and decoder of a variational autoencoder, images of any size."""

from __future__ import annotations

from torch import Tensor, nn

from lit_gen.networks.layers import check_channels, check_positive, reset
from lit_gen.networks.vae import SLOPE, embedding, init_vae_layer, join


class MLPEncoder(nn.Module):
    """q(z|x): hidden layers, then mean and log variance (Kingma & Welling 2014, appendix C.2).

    Args:
        image_size: Height and width of the images in pixels, 1 or more.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        hidden: Widths of the hidden layers, from the image to z.
        n_classes: Number of classes for an encoder that takes labels, joined to the pixels; None takes none.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        latent_dim: int = 2,
        hidden: list[int] = [512, 256],  # noqa: B006 (copied, never changed; None would hide the widths)
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        _check(self, image_size, channels, latent_dim, hidden, n_classes)
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.hidden = list(hidden)
        self.n_classes = n_classes

        self.embedding = embedding(n_classes, hidden[0])
        pixels = channels * image_size**2
        self.blocks = _blocks([pixels + (hidden[0] if n_classes else 0), *hidden])
        self.head = nn.Linear(hidden[-1], 2 * latent_dim)
        self.reset_parameters()

    def forward(self, x: Tensor, *labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z, (B, Z) each, from images (B, C, H, W) in [-1, 1]."""
        x = join(x.flatten(1), self.embedding, labels)
        for block in self.blocks:
            x = block(x)
        mu, logvar = self.head(x).chunk(2, 1)
        return mu, logvar

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_vae_layer(self, layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class MLPDecoder(nn.Module):
    """The raw output behind p(x|z): hidden layers, no final squashing (Kingma & Welling 2014, appendix C).

    Args:
        image_size: Height and width of the images in pixels, 1 or more.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        hidden: Widths of the hidden layers, from z to the image.
        n_classes: Number of classes for a decoder that takes labels, joined to z; None takes none.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        latent_dim: int = 2,
        hidden: list[int] = [256, 512],  # noqa: B006 (as above)
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        _check(self, image_size, channels, latent_dim, hidden, n_classes)
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.hidden = list(hidden)
        self.n_classes = n_classes

        self.embedding = embedding(n_classes, hidden[0])
        self.blocks = _blocks([latent_dim + (hidden[0] if n_classes else 0), *hidden])
        self.head = nn.Linear(hidden[-1], channels * image_size**2)
        self.reset_parameters()

    def forward(self, z: Tensor, *labels: Tensor) -> Tensor:
        """What a likelihood makes images of, (B, C, H, W), from z (B, Z)."""
        x = join(z, self.embedding, labels)
        for block in self.blocks:
            x = block(x)
        return self.head(x).unflatten(1, (self.channels, self.image_size, self.image_size))

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_vae_layer(self, layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


def _blocks(widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(SLOPE, inplace=True))
        for before, after in zip(widths, widths[1:], strict=False)
    )


def _check(
    network: nn.Module, image_size: int, channels: int, latent_dim: int, hidden: list[int], n_classes: int | None
) -> None:
    classes = {} if n_classes is None else {"n_classes": n_classes}
    widths = {f"hidden[{i}]": width for i, width in enumerate(hidden)} or {"len(hidden)": 0}
    check_positive(network, image_size=image_size, latent_dim=latent_dim, **widths, **classes)
    check_channels(network, channels)
