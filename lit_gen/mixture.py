"""A Gaussian mixture that a model carries in its checkpoint: fitted by scikit-learn, drawn from by torch."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


class Mixture(nn.Module):
    """sum_k w_k N(m_k, L_k L_k^T) over latents: buffers of a fixed size, all zero until it is fitted.

    Args:
        components: Number of Gaussians.
        dimensions: Length of a latent.
    """

    transferable = False  # it was fitted to the data of one run, and means nothing in another

    def __init__(self, components: int, dimensions: int) -> None:
        super().__init__()
        self.components = components
        self.register_buffer("weights", torch.zeros(components))
        self.register_buffer("means", torch.zeros(components, dimensions))
        self.register_buffer("choleskys", torch.zeros(components, dimensions, dimensions))

    @property
    def fitted(self) -> bool:
        return bool(self.weights.sum() > 0)

    def clear(self) -> None:
        """Forgets what it was fitted to."""
        for buffer in self.buffers():
            buffer.zero_()

    def fit(self, draws: Tensor, seed: int = 0) -> None:
        """Maximum likelihood with full covariances by expectation-maximisation (scikit-learn's GaussianMixture).

        Args:
            draws: (N, Z), finite; fewer of them than components leave some components unused.
            seed: Of where it begins.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        components = min(self.components, len(draws))
        gaussians = GaussianMixture(components, covariance_type="full", reg_covar=1e-4, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that could be a little better still serves
            gaussians.fit(draws.double().cpu().numpy())
        self.clear()
        found = (gaussians.weights_, gaussians.means_, gaussians.covariances_)
        weights, means, covariances = (torch.from_numpy(values) for values in found)
        self.weights[:components] = weights.to(self.weights)
        self.means[:components] = means.to(self.means)
        self.choleskys[:components] = torch.linalg.cholesky(covariances).to(self.choleskys)

    def sample(self, n: int, seed: int | None = None) -> Tensor:
        """(n, Z), drawn on the CPU: a seed means the same latents on every device."""
        random = None if seed is None else torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=random)
        noise = torch.randn(n, self.means.shape[1], generator=random)
        return self.means.cpu()[chosen] + torch.einsum("nij,nj->ni", self.choleskys.cpu()[chosen], noise)
