"""Features of images, maps or vectors, and what every model that is built on them has to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError

_weights_follow = ContextVar("_weights_follow", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Inside, networks that come with weights are built without: those of a checkpoint are going to replace them."""
    token = _weights_follow.set(True)
    try:
        yield
    finally:
        _weights_follow.reset(token)


def brings_weights(pretrained: bool) -> bool:
    """Whether a network should fetch weights of its own: not where a checkpoint's follow or only shapes are wanted."""
    return pretrained and not _weights_follow.get() and torch.get_default_device().type != "meta"


def judged_by(discriminator: nn.Module, images: Tensor) -> Tensor:
    """What a discriminator says of images, through its frozen front where it has one."""
    return discriminator((getattr(discriminator, "features", None) or unchanged)(images))


def unchanged(images: Tensor) -> Tensor:
    """What images pass where there is no front, or nothing that augments them."""
    return images


def vector_length(features: nn.Module, asker: nn.Module) -> int:
    """Length of the vectors that `as_vectors` makes of these features.

    Args:
        features: Says either `out_features`, of vectors (B, F), or `out_channels`, of maps (B, C, H, W).
        asker: Whose option they are, for the message.

    Raises:
        UserError: It says neither.
    """
    found = getattr(features, "out_features", None) or getattr(features, "out_channels", None)
    if found is None:
        name = type(features).__name__
        raise UserError(
            f"{type(asker).__name__}: features is a {name}, which says neither out_features nor out_channels.\nType "
            f"features: {{class_path: NetworkFeatures, init_args: {{network: {name}}}}} to have its blocks frozen, or "
            "NetworkBlocks to train them."
        )
    return found


def as_vectors(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) averaged over H and W; vectors (B, F) as they are."""
    return x.mean((2, 3)) if x.dim() == 4 else x
