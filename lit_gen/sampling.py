"""What everything that makes images for a person or a metric shares: latents, eval mode, EMA weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def draw_latents(n: int, latent_dim: int, seed: int | None = None) -> Tensor:
    """Standard normal latents (n, latent_dim), drawn on the CPU: a seed means the same images on every device."""
    random = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randn(n, latent_dim, generator=random)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Eval mode and no gradients inside; afterwards every sub-module is in the mode in which it was before."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield network
    finally:
        for module, mode in modes:
            module.training = mode


def averaged(model: nn.Module, name: str) -> nn.Module:
    """The moving average of a sub-module where the model carries one (`generator_ema`), else the sub-module itself."""
    return getattr(model, f"{name}_ema", None) or getattr(model, name)


def add_average(model: nn.Module, name: str) -> None:
    """Gives the model a sub-module `<name>_ema` that starts as a copy and never takes gradients."""
    if getattr(model, f"{name}_ema", None) is None:
        model.add_module(f"{name}_ema", copy.deepcopy(getattr(model, name)).requires_grad_(False))


def is_augmentation(name: str) -> bool:
    """Whether a dotted name belongs to what stands before a discriminator: part of a run, not of what it has learnt."""
    return name.split(".")[0] == "augment"


def is_average(name: str) -> bool:
    """Whether a dotted name is that of a moving average or of a part of one; these follow by themselves."""
    return name.split(".")[0].endswith("_ema")
