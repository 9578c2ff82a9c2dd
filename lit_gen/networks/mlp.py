"""The plain fully connected GAN: 100-128-256-512-1024 against 1024-512-256-1, 32x32 grey images by default."""

from torch import Tensor, nn

from lit_gen.networks.layers import check_channels, check_positive, reset, weight_of


def init_mlp_layer(layer: nn.Module) -> None:
    """Weights and biases uniform within 1 / sqrt(inputs), as torch itself begins a Linear layer."""
    if isinstance(layer, nn.Linear):
        bound = layer.in_features**-0.5
        nn.init.uniform_(weight_of(layer), -bound, bound)
        nn.init.uniform_(layer.bias, -bound, bound)


class MLPGenerator(nn.Module):
    """Fully connected generator with LeakyReLU(0.2) between and Tanh at the end (Goodfellow et al. 2014, section 5).

    Args:
        image_size: Height and width of the images in pixels, 1 or more.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: Length of z.
        hidden: Widths of the hidden layers, from z to the image.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 32,
        channels: int = 1,
        latent_dim: int = 100,
        hidden: list[int] = [128, 256, 512, 1024],  # noqa: B006 (copied, never changed; None would hide the widths)
    ) -> None:
        super().__init__()
        check_positive(self, image_size=image_size, latent_dim=latent_dim, **_named(hidden))
        check_channels(self, channels)
        self.image_size = image_size
        self.channels = channels
        self.latent_dim = latent_dim
        self.hidden = list(hidden)

        widths = [latent_dim, *hidden]
        self.blocks = _blocks(widths)
        self.head = nn.Linear(widths[-1], channels * image_size**2)

    def forward(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from z (B, Z)."""
        x = z
        for block in self.blocks:
            x = block(x)
        return self.head(x).tanh().unflatten(1, (self.channels, self.image_size, self.image_size))

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_mlp_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class MLPDiscriminator(nn.Module):
    """Fully connected discriminator with LeakyReLU(0.2) between (Goodfellow et al. 2014, section 5).

    Args:
        image_size: Height and width of the images in pixels, 1 or more.
        channels: 1 (grey) or 3 (RGB).
        hidden: Widths of the hidden layers, from the image to the logit.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 32,
        channels: int = 1,
        hidden: list[int] = [512, 256],  # noqa: B006 (as above)
    ) -> None:
        super().__init__()
        check_positive(self, image_size=image_size, **_named(hidden))
        check_channels(self, channels)
        self.image_size = image_size
        self.channels = channels
        self.hidden = list(hidden)

        widths = [channels * image_size**2, *hidden]
        self.blocks = _blocks(widths)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) from images (B, C, H, W) in [-1, 1]."""
        x = x.flatten(1)
        for block in self.blocks:
            x = block(x)
        return self.head(x).squeeze(1)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_mlp_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


def _blocks(widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(0.2, inplace=True))
        for before, after in zip(widths, widths[1:], strict=False)
    )


def _named(hidden: list[int]) -> dict[str, int]:
    return {f"hidden[{i}]": width for i, width in enumerate(hidden)}
