"""A discriminator that judges features of images instead of their pixels."""

from __future__ import annotations

from torch import Tensor, nn

from lit_gen.fronts import as_vectors, vector_length
from lit_gen.networks.conditional_layers import ProjectionHead
from lit_gen.networks.layers import check_positive, reset, spectral_normed, weight_of

SLOPE = 0.2


class FeatureDiscriminator(nn.Module):
    """Trainable blocks on frozen features (Sungatullina et al. 2018, arXiv:1809.01396, section 3).

    `features(images)` is the front that GAN computes once for the fakes and uses in both updates; calling the
    discriminator takes what the front returned. The generator learns through the front, the front learns nothing.

    Args:
        features: A frozen front: ImageNetFeatures, NetworkFeatures and their like.
        width: Channels (or units, on vectors) of each block.
        n_blocks: Number of blocks: 3x3 convolutions on maps, linear layers on vectors, each with a LeakyReLU.
        spectral: Spectral norm on every trainable weight (Miyato et al. 2018).
        n_classes: Number of classes for a discriminator that projects on the label (Miyato & Koyama 2018, eq. 3); None
            takes no labels.

    Raises:
        UserError: An argument is outside these ranges, or `features` says nothing of its sizes.
    """

    def __init__(
        self,
        features: nn.Module,
        width: int = 128,
        n_blocks: int = 2,
        spectral: bool = True,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        check_positive(self, width=width, n_blocks=n_blocks, **({} if n_classes is None else {"n_classes": n_classes}))
        self.features = features
        self.width = width
        self.n_blocks = n_blocks
        self.spectral = spectral
        self.n_classes = n_classes

        on_maps = getattr(features, "out_channels", None) is not None
        inputs = [vector_length(features, self), *[width] * (n_blocks - 1)]
        normed = spectral_normed if spectral else (lambda layer: layer)
        self.blocks = nn.ModuleList()
        for number in inputs:
            layer = nn.Conv2d(number, width, 3, padding=1) if on_maps else nn.Linear(number, width)
            self.blocks.append(nn.Sequential(normed(layer), nn.LeakyReLU(SLOPE, inplace=True)))
        if n_classes is None:
            self.head = normed(nn.Linear(width, 1))
        else:
            self.head = ProjectionHead(width, n_classes, spectral, auxiliary_classifier=False)
        self.reset_parameters()

    def forward(self, x: Tensor, *labels: Tensor) -> Tensor:
        """Logits (B,) from `features(images)`, maps (B, C, H, W) or vectors (B, F), and labels (B,) if any."""
        for block in self.blocks:
            x = block(x)
        x = as_vectors(x)
        return self.head(x).squeeze(1) if self.n_classes is None else self.head(x, *labels)

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place: the variance stays through LeakyReLU (He et al. 2015, eq. 15)."""
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(weight_of(layer), 0.0, 0.02)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(weight_of(layer), a=SLOPE)
            nn.init.zeros_(layer.bias)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all but the frozen features."""
        for module in (self.blocks, self.head) if part is None else (part,):
            reset(self, module)
