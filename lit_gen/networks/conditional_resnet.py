"""SNGAN's ResNets that know the class: conditional BatchNorm, projection (Miyato & Koyama 2018, arXiv:1802.05637)."""

from functools import partial
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
from lit_gen.networks.layers import check_images, check_positive, reset, weight_of
from lit_gen.networks.resnet import (
    DISCRIMINATOR_WIDTHS,
    GENERATOR_WIDTHS,
    HALVINGS,
    SIZES,
    DownBlock,
    UpBlock,
    init_resnet_layer,
)


class ConditionalResNetGenerator(nn.Module):
    """SNGAN generator of a wanted class: each BatchNorm is one of the class (Miyato & Koyama 2018, appendix A).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        n_classes: Number of classes; labels are 0 to n_classes - 1.
        latent_dim: Length of z.
        width: Channels of the largest feature map at 64 and 128 pixels, a quarter of all maps at 28 and 32.
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
        latent_dim: int = 128,
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

        start = 7 if image_size == 28 else 4
        widths = [width * multiple for multiple in GENERATOR_WIDTHS[image_size]]
        norm = partial(make_norm, n_classes=n_classes, condition=condition)
        self.embedding = nn.Embedding(n_classes, latent_dim) if condition == "embedding" else None
        inputs = latent_dim if self.embedding is None else 2 * latent_dim
        project = nn.Sequential(nn.Linear(inputs, widths[0] * start**2), nn.Unflatten(1, (widths[0], start, start)))
        ups = [UpBlock(before, after, norm) for before, after in zip(widths, widths[1:], strict=False)]
        self.blocks = nn.ModuleList([project, *ups])
        self.norm = norm(widths[-1])
        self.head = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.reset_parameters()

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] from z (B, Z) and labels (B,)."""
        if self.embedding is None:
            x, cond = z, (labels,)
        else:
            x, cond = torch.cat([z, self.embedding(labels)], 1), ()
        x = self.blocks[0](x)
        for block in self.blocks[1:]:
            x = block(x, *cond)
        return self.head(self.norm(x, *cond).relu()).tanh()

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as SNGAN's authors do; the embedding as z is distributed, N(0, 1)."""
        if isinstance(layer, ConditionalBatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight)
        else:
            init_resnet_layer(layer, is_head=layer is self.head)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)


class ProjectionResNetDiscriminator(nn.Module):
    """SNGAN discriminator, sum over pixels, logit by projection, all spectral-normed (Miyato & Koyama 2018, eq. 3).

    Args:
        image_size: Height and width of the images: 28, 32, 64 or 128 pixels.
        channels: 1 (grey) or 3 (RGB).
        n_classes: Number of classes; labels are 0 to n_classes - 1.
        width: Channels of the largest feature map at 64 and 128 pixels, half of all maps at 28 and 32.
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
        auxiliary_classifier: bool = False,
    ) -> None:
        super().__init__()
        check_images(self, image_size, SIZES, channels)
        check_positive(self, n_classes=n_classes, width=width)
        self.image_size = image_size
        self.channels = channels
        self.n_classes = n_classes
        self.width = width
        self.auxiliary_classifier = auxiliary_classifier

        widths = [channels] + [width * multiple for multiple in DISCRIMINATOR_WIDTHS[image_size]]
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            self.blocks.append(DownBlock(before, after, halve=i < HALVINGS[image_size], on_pixels=i == 0))
        self.head = ProjectionHead(widths[-1], n_classes, True, auxiliary_classifier)
        self.reset_parameters()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor | Judgement:
        """Logits (B,) from images (B, C, H, W) in [-1, 1] and labels (B,); a Judgement with auxiliary_classifier."""
        for block in self.blocks:
            x = block(x)
        return self.head(x.relu().sum((2, 3)), labels)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place, as the authors' code does."""
        if isinstance(layer, nn.Embedding):
            nn.init.xavier_uniform_(weight_of(layer))
        else:
            init_resnet_layer(layer, is_head=layer is self.head)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all of it."""
        reset(self, part)
