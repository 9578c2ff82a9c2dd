"""Sets of features whose distribution is known, as evidence."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_gen.metrics.base import Evidence


def normal(n: int, seed: int, mean: float = 0.0, width: int = 4) -> Tensor:
    """(n, width) float64 with standard deviation 1."""
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def turned(features: Tensor, seed: int = 0) -> Tensor:
    """The same with unequal deviations, in directions of its own: a covariance far from the unit matrix."""
    width = features.shape[1]
    deviations = torch.linspace(0, 2, width, dtype=torch.float64).neg().exp()
    return features * deviations @ torch.linalg.qr(normal(width, seed, width=width))[0]


def evidence_of(real: Tensor, fake: Tensor, **others: Tensor) -> Evidence:
    """By an extractor named `known`."""
    return Evidence("known", real, fake, **others)
