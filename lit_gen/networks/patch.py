"""PatchGAN (Isola et al. 2017, arXiv:1611.07004, section 3.2.2): a discriminator that judges each patch by itself."""

from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.layers import check_channels, check_positive, reset, weight_of


class PatchDiscriminator(nn.Module):
    """One logit for each patch: C64-C128-C256-C512, 4x4 kernels, instance norm, LeakyReLU (Zhu et al. 2017, 7.2).

    Args:
        channels: 1 (grey) or 3 (RGB).
        width: Channels of the first feature map, the paper's 64; they double with every layer, up to 8 times.
        n_layers: Halvings of the side. A patch has 70x70 pixels with the paper's 3, 34x34 with 2 and 16x16 with 1:
            take 1 or 2 for images of 28 to 64 pixels.

    Raises:
        UserError: An argument is outside these ranges, or an image is too small.
    """

    def __init__(self, channels: int = 3, width: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        check_channels(self, channels)
        check_positive(self, width=width, n_layers=n_layers)
        self.channels = channels
        self.width = width
        self.n_layers = n_layers

        widths = [width * min(2**i, 8) for i in range(n_layers + 1)]
        self.blocks = nn.ModuleList([nn.Sequential(_convolution(channels, width, 2), nn.LeakyReLU(0.2, inplace=True))])
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            convolution = _convolution(before, after, stride=2 if i < n_layers else 1, bias=False)
            self.blocks.append(
                nn.Sequential(convolution, nn.InstanceNorm2d(after), nn.LeakyReLU(0.2, inplace=True)),
            )
        self.head = _convolution(widths[-1], 1, stride=1)
        self.reset_parameters()

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the patch that one logit sees."""
        side = 1
        for layer in reversed([m for m in self.modules() if isinstance(m, nn.Conv2d)]):
            side = (side - 1) * layer.stride[0] + layer.kernel_size[0]
        return side

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, h, w), one for each patch, from images (B, C, H, W) in [-1, 1]."""
        smallest = 3 * 2**self.n_layers
        if min(x.shape[-2:]) < smallest:
            raise UserError(
                f"PatchDiscriminator: found images of {x.shape[-2]}x{x.shape[-1]} pixels, expected at least "
                f"{smallest} for n_layers {self.n_layers}.\nType n_layers: {max(1, self.n_layers - 1)}."
            )
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place: weights ~ N(0, 0.02), biases 0 (Zhu et al. 2017, section 7.1)."""
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(weight_of(layer), 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


def _convolution(before: int, after: int, stride: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias)
