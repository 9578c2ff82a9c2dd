"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685), for convolutions as well."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lit_gen.errors import UserError
from lit_gen.networks.layers import check_positive, weight_of
from lit_gen.networks.wrapper import Wrapper
from lit_gen.selection import select_modules

ADAPTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class LowRank(Wrapper):
    """W + scale * up @ down in linear layers and convolutions, up and down of low rank (Hu et al. 2021, section 4.1).

    It starts as the inner network, bit for bit: `up` is zero. A kernel counts as the matrix of its first dimension by
    all others: (out, in * kh * kw), or (in, out * kh * kw) where the convolution is transposed. Under spectral norm the
    sum is what is normalised, so that the bound on the layer stays. After training, `merge` leaves plain weights.

    Args:
        network: Generator, discriminator, encoder or decoder.
        rank: Rank of the update; a smaller weight gets as much as it has.
        scale: Factor of the update, the paper's alpha / r.
        layers: Glob patterns over names in `network`, e.g. `blocks`; by default all layers. A discriminator's frozen
            front `features` is left out: it sees fakes once for both updates, and could not learn from them.

    Raises:
        UserError: A rank below 1, a pattern that matches nothing, nothing to adapt, or layers that are adapted already.
    """

    def __init__(self, network: nn.Module, rank: int = 4, scale: float = 1.0, layers: list[str] | None = None) -> None:
        super().__init__(network)
        check_positive(self, rank=rank)
        self.rank = rank
        self.scale = scale
        self.layers = layers
        found = self._find()
        if not found:
            raise UserError(
                f"LowRank: nothing to adapt in {type(network).__name__}: found no linear layer and no convolution"
                f"{'' if layers is None else ' among layers ' + ', '.join(layers)}.\nType layers: [blocks], say, or "
                "leave it out."
            )
        for layer in found.values():
            _register_first(layer, _Update(weight_of(layer), rank, scale))

    def _find(self) -> dict[str, nn.Module]:
        """The layers to adapt, by name."""
        chosen = {
            name: module
            for name, module in select_modules(self.network, self.layers or ["*"], "LowRank").items()
            if isinstance(module, ADAPTED) and not getattr(module, "adapter", False)
        }
        taken = [name for name, module in chosen.items() if _update_of(module) is not None]
        if taken:
            raise UserError(
                f"LowRank: {', '.join(taken[:3])} of {type(self.network).__name__} are adapted by another LowRank.\n"
                "Wrap a network once, with the greater rank, or give each other `layers`."
            )
        if self.layers is None:
            return {name: module for name, module in chosen.items() if name.split(".")[0] != "features"}
        return chosen

    def merge(self) -> nn.Module:
        """The inner network, in place, with every update added to its weight: the same outputs up to rounding."""
        for layer in self.network.modules():
            if _update_of(layer) is not None:
                _fold_first(layer)
        return self.network


class _Update(nn.Module):
    """weight + scale * up @ down, the parametrization of a weight."""

    adapter = True

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        rows, columns = weight.flatten(1).shape
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_empty(rows, rank))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """down ~ N(0, 1 / columns), which keeps the variance of what comes in; up 0: at first nothing changes."""
        nn.init.normal_(self.down, 0.0, self.down.shape[1] ** -0.5)
        nn.init.zeros_(self.up)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def _update_of(layer: nn.Module) -> _Update | None:
    """The low-rank update of a layer's weight, if it has one."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    first = layer.parametrizations.weight[0]
    return first if isinstance(first, _Update) else None


def _register_first(layer: nn.Module, update: _Update) -> None:
    """Put `update` before every other parametrization of the weight, such as spectral norm."""
    # unsafe only leaves out a trial run, which in train mode would move the singular vectors of a spectral norm
    parametrize.register_parametrization(layer, "weight", update, unsafe=True)
    steps = layer.parametrizations.weight
    for index, step in enumerate([update, *list(steps)[:-1]]):
        steps[index] = step


@torch.no_grad()
def _fold_first(layer: nn.Module) -> None:
    """Add the update, which is first, to the weight, and take it away."""
    steps = layer.parametrizations.weight
    steps.original.copy_(steps[0](steps.original))
    if len(steps) > 1:
        del steps[0]
        return
    # Copies of a layer share the class that torch made for it, and torch takes `weight` away from the class: an average
    # of this network would lose its weights. So the layer gets a class of its own first.
    shared = type(layer)
    own = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(shared.__name__, shared.__bases__, own)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
