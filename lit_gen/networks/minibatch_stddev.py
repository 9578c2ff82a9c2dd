"""Minibatch standard deviation (Karras et al. 2018, arXiv:1710.10196, section 3): D sees how much a batch varies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.layers import check_positive
from lit_gen.networks.wrapper import Wrapper


class MinibatchStdDev(nn.Module):
    """One number for each image: the standard deviation over its group, mean over all features (Karras et al. 2018, 3).

    A batch is cut into groups of `group_size` images, its first and so on; what is left over joins the groups, and a
    smaller batch is one group.

    Args:
        group_size: Images of a group.

    Raises:
        UserError: `group_size` is smaller than 1.
    """

    def __init__(self, group_size: int = 4) -> None:
        super().__init__()
        check_positive(self, group_size=group_size)
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        """(B,) >= 0 from features (B, ...)."""
        groups = x.flatten(1).tensor_split(max(1, len(x) // self.group_size))
        return torch.cat([self.statistic(group).expand(len(group)) for group in groups])

    @staticmethod
    def statistic(group: Tensor) -> Tensor:
        """Of one group (N, F); where images are equal the gradient stays finite."""
        return (group.var(0, unbiased=False) + 1e-8).sqrt().mean()

    def extra_repr(self) -> str:
        return f"group_size={self.group_size}"


class WithMinibatchStdDev(Wrapper):
    """A discriminator that also sees how much a batch varies, before its head (Karras et al. 2018, 3).

    The paper appends it as one more channel, the same everywhere, and the next layer weighs all channels. Here it is
    added to each channel of the last block's output by a learnt weight, which to a linear head is the same, and leaves
    the head's shape as it is. The weights begin at 0, so that weights of a plain discriminator can be loaded, and
    nothing changes at first.

    D then no longer judges each image by itself. R1, whose gradient is that of one image, is an approximation, and
    GradientPenalty, whose bound is for each image, does not hold. BatchNorm levels how much batches vary: take a
    discriminator with `normalization: spectral` or `none`.

    Args:
        network: A discriminator with `blocks` and `head`.
        group_size: Images that the deviation is taken over.

    Raises:
        UserError: The network has no blocks, or `group_size` is smaller than 1.
    """

    def __init__(self, network: nn.Module, group_size: int = 4) -> None:
        super().__init__(network)
        self.group_size = group_size
        last = self._blocks()[-1]
        self.weighed = _Weighed(self._channels(last), group_size)
        last.register_forward_hook(self.weighed.after)  # a bound method: copies of this network get hooks of their own

    def merge(self) -> nn.Module:
        """Refused: no weight of the inner network looks at a whole batch.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "WithMinibatchStdDev cannot be merged: no weight of the discriminator looks at a whole batch.\nUse the "
            "checkpoint as it is: it loads and samples like any other."
        )


class _Weighed(nn.Module):
    """x + weight * deviation, one weight for each channel of x (B, C) or (B, C, H, W)."""

    adapter = True

    def __init__(self, channels: int, group_size: int) -> None:
        super().__init__()
        self.deviation = MinibatchStdDev(group_size)
        self.weight = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 0: at first nothing changes."""
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        ones = [1] * (x.dim() - 2)
        return x + self.deviation(x).view(-1, 1, *ones) * self.weight.view(1, -1, *ones)

    def after(self, block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """The forward hook of a block."""
        return self(output)
