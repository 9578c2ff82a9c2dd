"""Batch statistics adaptation (Noguchi & Harada 2019, arXiv:1904.01774): a scale and a shift for each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.wrapper import Wrapper


class ScaleAndShift(Wrapper):
    """A learnt scale and shift for each channel after each block: gamma * h + beta (Noguchi & Harada 2019, section 3).

    It starts as the inner network, bit for bit: scales 1, shifts 0. Freeze the rest to train nothing else, the batch
    statistics of the inner network included.

    Args:
        network: A network with `blocks`: generator, discriminator, encoder or decoder.

    Raises:
        UserError: The network has no blocks, or a block does not show how many channels it gives.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        blocks = self._blocks()
        self.adapters = nn.ModuleList(_ChannelAffine(self._channels(block)) for block in blocks)
        for block, adapter in zip(blocks, self.adapters, strict=True):
            block.register_forward_hook(adapter.after)  # a bound method: copies of this network get hooks of their own

    def merge(self) -> nn.Module:
        """Refused: behind an activation and before a zero-padded convolution there is no weight that could take it in.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "ScaleAndShift cannot be merged: its scales and shifts follow the activation of each block, and no weight "
            "there can take them in.\nUse the checkpoint as it is, or train a LowRank, which can be merged."
        )


class _ChannelAffine(nn.Module):
    """scale * x + shift, one of each for every channel of x (B, C) or (B, C, H, W)."""

    adapter = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))
        self.shift = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1 and shift 0: at first nothing changes."""
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor) -> Tensor:
        channels = (-1, *(1 for _ in x.shape[2:]))
        return torch.addcmul(self.shift.view(channels), x, self.scale.view(channels))

    def after(self, block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """The forward hook of a block."""
        return self(output)
