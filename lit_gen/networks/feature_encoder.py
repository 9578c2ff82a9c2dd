"""An encoder of a variational autoencoder that looks at features of images instead of their pixels."""

from __future__ import annotations

from torch import Tensor, nn

from lit_gen.fronts import as_vectors, vector_length
from lit_gen.networks.layers import check_positive, reset
from lit_gen.networks.vae import SLOPE, init_vae_layer


class FeatureVAEEncoder(nn.Module):
    """q(z|x) from features of x: a hidden layer, then mean and log variance (Kingma & Welling 2014, appendix C.2).

    Args:
        features: Where to look: ImageNetFeatures, NetworkFeatures (frozen), NetworkBlocks (trained). Of maps, the mean
            over height and width is used; `output: flat` keeps what stands where.
        latent_dim: Length of z.
        hidden: Units of the hidden layer.

    Raises:
        UserError: An argument is outside these ranges, or `features` says nothing of its sizes.
    """

    def __init__(self, features: nn.Module, latent_dim: int = 32, hidden: int = 256) -> None:
        super().__init__()
        check_positive(self, latent_dim=latent_dim, hidden=hidden)
        self.features = features
        self.latent_dim = latent_dim
        self.hidden = hidden
        layer = nn.Linear(vector_length(features, self), hidden)
        self.blocks = nn.ModuleList([nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))])
        self.head = nn.Linear(hidden, 2 * latent_dim)
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z, (B, Z) each, from images (B, C, H, W) in [-1, 1]."""
        x = as_vectors(self.features(x))
        for block in self.blocks:
            x = block(x)
        mu, logvar = self.head(x).chunk(2, 1)
        return mu, logvar

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place."""
        init_vae_layer(self, layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default all but the features."""
        for module in (self.blocks, self.head) if part is None else (part,):
            reset(self, module)
