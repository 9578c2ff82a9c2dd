"""Spectral-normed layers: their singular vectors are kept from step to step and go stale when a weight is replaced."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize

# As many as torch itself spends on a fresh spectral norm.
_POWER_ITERATIONS = 15


def refresh_spectral_norm(layer: nn.Module) -> None:
    """Bring the singular vectors of a spectral-normed `layer` up to date after its weight was replaced."""
    if not parametrize.is_parametrized(layer, "weight"):
        return
    training = layer.training
    layer.train()  # in train mode each reading of the weight is one power iteration
    for _ in range(_POWER_ITERATIONS):
        layer.weight  # noqa: B018
    layer.train(training)
