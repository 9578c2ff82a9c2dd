"""DCGAN that knows the class: conditional BatchNorm in G, projection in D (Miyato & Koyama 2018, arXiv:1802.05637)."""

from typing import Literal

import torch
from torch import Tensor, nn

from lit_gen.networks.conditional_layers import (
    ConditionalBatchNorm2d,
    Judgement,
    ProjectionHead,
    check_condition,
    make_norm,
)
from lit_gen.networks.dcgan import SIZES, doubling, feature_sides, halving, init_dcgan_layer
from lit_gen.networks.layers import check_images, check_normalization, check_positive, reset, weight_of


class ConditionalDCGANGenerator(nn.Module):
    """DCGAN generator of a wanted class, by conditional BatchNorm or an embedding (Miyato & Koyama 2018, section 5).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        n_classes: Number of classes; labels are 0 to n_classes - 1.
        latent_dim: Length of z.
        width: Channels of the largest feature map; they double with every halving of the side.
        condition: Where the label enters: `batch_norm` gives each class gains and biases of its own, `embedding` joins
            a learnt vector of length latent_dim to z (Mirza & Osindero 2014, section 3.2).

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        n_classes: int = 10,
        latent_dim: int = 100,
        width: int = 64,
        condition: Literal["batch_norm", "embedding"] = "batch_norm",
    ) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, n_classes=n_classes, latent_dim=latent_dim, width=width)
        check_condition(self, condition)
        self.image_size = image_size
        self.channels = channels
        self.n_classes = n_classes
        self.latent_dim = latent_dim
        self.width = width
        self.condition = condition

        sides = feature_sides(image_size)[:0:-1]  # 4 and up; the head doubles the last one
        widths = [width * 2**i for i in reversed(range(len(sides)))]
        self.embedding = nn.Embedding(n_classes, latent_dim) if condition == "embedding" else None
        inputs = latent_dim if self.embedding is None else 2 * latent_dim
        project = nn.Sequential(nn.Linear(inputs, widths[0] * 4**2, bias=False), nn.Unflatten(1, (widths[0], 4, 4)))
        layers = [project, *map(doubling, widths, widths[1:], sides[1:])]
        self.blocks = nn.ModuleList(
            _Block(layer, make_norm(maps, n_classes, condition)) for layer, maps in zip(layers, widths, strict=True)
        )
        self.head = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        self.reset_parameters()

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from z (B, Z) and labels (B,)."""
        if self.embedding is None:
            x, cond = z, (labels,)
        else:
            x, cond = torch.cat([z, self.embedding(labels)], 1), ()
        for block in self.blocks:
            x = block(x, *cond)
        return self.head(x).tanh()

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as DCGAN's paper does; the embedding as z is distributed, N(0, 1)."""
        if isinstance(layer, ConditionalBatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight)
        else:
            init_dcgan_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class ProjectionDCGANDiscriminator(nn.Module):
    """DCGAN discriminator whose logit projects the features on the class's vector (Miyato & Koyama 2018, eq. 3).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        n_classes: Number of classes; labels are 0 to n_classes - 1.
        width: Channels of the largest feature map; they double with every halving of the side.
        normalization: `batch` (in all blocks but the first), `spectral` (Miyato et al. 2018) or `none`.
        auxiliary_classifier: Beside the projection, tell the class as well; needs AuxiliaryClassifierLoss.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        n_classes: int = 10,
        width: int = 64,
        normalization: Literal["none", "batch", "spectral"] = "spectral",
        auxiliary_classifier: bool = False,
    ) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, n_classes=n_classes, width=width)
        check_normalization(self, normalization)
        self.image_size = image_size
        self.channels = channels
        self.n_classes = n_classes
        self.width = width
        self.normalization = normalization
        self.auxiliary_classifier = auxiliary_classifier

        sides = feature_sides(image_size)[:-1]
        widths = [channels] + [width * 2**i for i in range(len(sides))]
        norms = ["none" if normalization == "batch" else normalization] + [normalization] * (len(sides) - 1)
        self.blocks = nn.ModuleList(map(halving, widths, widths[1:], sides, norms))
        self.head = ProjectionHead(widths[-1] * 4**2, n_classes, normalization == "spectral", auxiliary_classifier)
        self.reset_parameters()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor | Judgement:
        """Logits (B,) from images (B, C, H, W) in [-1, 1] and labels (B,); a Judgement with auxiliary_classifier."""
        for block in self.blocks:
            x = block(x)
        return self.head(x.flatten(1), labels)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as DCGAN's paper does; the embedding as the layer that it stands beside."""
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(weight_of(layer), 0.0, 0.02)
        else:
            init_dcgan_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class _Block(nn.Module):
    """A layer, its normalisation (of the class, where labels follow x) and ReLU."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm

    def forward(self, x: Tensor, *cond: Tensor) -> Tensor:
        return self.norm(self.layer(x), *cond).relu_()
