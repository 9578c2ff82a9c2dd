"""Layers under spectral norm: where their weight really is, and how its singular vectors follow it."""

from torch import Tensor, nn
from torch.nn.utils import parametrize

# torch spends 15 on a fresh spectral norm, after which the norm of a small random layer may still be off by 15 %.
_POWER_ITERATIONS = 50


def weight_of(layer: nn.Module) -> Tensor:
    """The weight that counts: spectral norm and adapters compute `layer.weight` from it, so writing there is lost."""
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations.weight.original
    return layer.weight


def refresh_spectral_norm(layer: nn.Module) -> None:
    """Bring the singular vectors of a spectral-normed `layer` up to date after its weight was replaced."""
    if not parametrize.is_parametrized(layer, "weight"):
        return
    training = layer.training
    layer.train()  # in train mode each reading of the weight is one power iteration
    for _ in range(_POWER_ITERATIONS):
        layer.weight  # noqa: B018
    layer.train(training)
