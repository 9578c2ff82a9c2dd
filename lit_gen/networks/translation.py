"""The generator of CycleGAN (Zhu et al. 2017, arXiv:1703.10593, appendix 7.2; Johnson et al. 2016): image to image."""

from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.layers import check_channels, check_positive, reset, weight_of


def init_translation_layer(layer: nn.Module) -> None:
    """Weights ~ N(0, 0.02), biases 0 (Zhu et al. 2017, section 7.1)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(weight_of(layer), 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class TranslationGenerator(nn.Module):
    """Residual generator: c7s1-k, d2k, d4k, R4k..., u2k, uk, c7s1-C (Zhu et al. 2017, section 7.2).

    It takes images of any height and width that 4 divides, from 8 up; instance norm has no weights, as in the authors'
    code, so that no convolution before it needs a bias.

    Args:
        channels: 1 (grey) or 3 (RGB), in and out.
        width: Channels of the largest feature map, the paper's 64.
        n_blocks: Residual blocks; the paper has 6 for 128 pixels and 9 for 256.

    Raises:
        UserError: An argument is outside these ranges, or an image of a size that cannot be translated.
    """

    def __init__(self, channels: int = 3, width: int = 64, n_blocks: int = 9) -> None:
        super().__init__()
        check_channels(self, channels)
        check_positive(self, width=width, n_blocks=n_blocks)
        self.channels = channels
        self.width = width
        self.n_blocks = n_blocks

        self.blocks = nn.ModuleList(
            [
                _block(_reflected(channels, width, 7), width),
                _block(_halving(width, 2 * width), 2 * width),
                _block(_halving(2 * width, 4 * width), 4 * width),
                *(_ResidualBlock(4 * width) for _ in range(n_blocks)),
                _block(_doubling(4 * width, 2 * width), 2 * width),
                _block(_doubling(2 * width, width), width),
            ]
        )
        self.head = _reflected(width, channels, 7, bias=True)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from images of the same shape and range."""
        height, width = x.shape[-2:]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise UserError(
                f"TranslationGenerator: found images of {height}x{width} pixels, expected sides that 4 divides, from 8 "
                f"up.\nType image_size: {max(8, height // 4 * 4)} in the data."
            )
        for block in self.blocks:
            x = block(x)
        return self.head(x).tanh()

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as the paper does."""
        init_translation_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class _ResidualBlock(nn.Module):
    """x + two 3x3 convolutions with instance norm, no ReLU after the sum (Johnson et al. 2016; Gross & Wilber 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_block(_reflected(width, width, 3), width), _reflected(width, width, 3), nn.InstanceNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolutions(x)


def _block(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.InstanceNorm2d(width), nn.ReLU(inplace=True))


def _reflected(before: int, after: int, kernel: int, bias: bool = False) -> nn.Conv2d:
    """(B, before, H, W) -> (B, after, H, W), the border mirrored: zeros there would show in the picture."""
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)


def _halving(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)


def _doubling(before: int, after: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1, bias=False)
