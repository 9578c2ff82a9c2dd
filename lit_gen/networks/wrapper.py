"""What the cheap adapters share: a network around a network, which learns while the one inside may stay frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.layers import reset


class Wrapper(nn.Module, ABC):
    """Base of the networks that wrap a network: a few weights of their own, everything else is the inner network's.

    In YAML the inner network is an argument, so that the recipe in a checkpoint rebuilds both. Modules that hold the
    weights of the wrapper itself carry `adapter = True`. What a wrapper does not have, such as `blocks`, `head`,
    `latent_dim`, `n_classes` or `features`, is the inner network's, and is missing where that lacks it.

    Args:
        network: The inner network; its modules keep their names, below `network`.
    """

    wraps = "network"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == self.wraps or name.startswith("_"):  # not built yet, or asked by Python itself
                raise
            return getattr(self.network, name)

    def forward(self, *inputs: Any) -> Any:
        """What the inner network makes of `inputs`, labels included."""
        return self.network(*inputs)

    @abstractmethod
    def merge(self) -> nn.Module:
        """The inner network, in place, with what the adapters learnt folded into its weights.

        Raises:
            UserError: These adapters cannot be folded in.
        """

    def init_layer(self, layer: nn.Module) -> None:
        """Initialise one layer in place: an adapter so that it changes nothing, others as the inner network does."""
        if getattr(layer, "adapter", False):
            layer.reset_parameters()
        elif layer is not self:
            self.network.init_layer(layer)

    def reset_parameters(self, part: nn.Module | None = None) -> None:
        """Initialise `part` of this network in place, by default the adapters and what the inner network resets."""
        if part is not None and part is not self:
            return reset(self, part)
        for layer in self.modules():
            if getattr(layer, "adapter", False):
                layer.reset_parameters()
        return self.network.reset_parameters()  # it knows what of it is not to be touched, such as a frozen front

    def _blocks(self) -> list[nn.Module]:
        """The inner network's blocks, for a wrapper that acts on what they give.

        Raises:
            UserError: It has none.
        """
        blocks = list(getattr(self.network, "blocks", []))
        if not blocks:
            raise UserError(
                f"{type(self).__name__}: {type(self.network).__name__} has no `blocks` to adapt.\nWrap a network such "
                "as DCGANDiscriminator, or use LowRank, which adapts layers."
            )
        return blocks

    def _channels(self, block: nn.Module) -> int:
        """Channels that a block gives, read from its last layer that has any.

        Raises:
            UserError: No layer says how many.
        """
        for layer in reversed(list(block.modules())):
            if isinstance(layer, nn.Unflatten):
                return layer.unflattened_size[0]
            for name in ("out_channels", "num_features", "num_channels", "out_features"):
                if hasattr(layer, name):
                    return getattr(layer, name)
        raise UserError(
            f"{type(self).__name__}: no layer of a block of {type(self.network).__name__}, a {type(block).__name__}, "
            "says how many channels it gives.\nUse LowRank, which adapts layers."
        )
