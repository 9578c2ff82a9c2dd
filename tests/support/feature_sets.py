"""Features that stand in for those of images: rows of normal values, the same for the same seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_gen.metrics.base import Evidence


def draw(n: int, seed: int, width: int = 8, mean: float = 0.0) -> Tensor:
    """(n, width) float32, as extractors give them."""
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + mean


def evidence(real: Tensor, fake: Tensor, **others: Any) -> Evidence:
    """Of an extractor that is called `normal`."""
    return Evidence("normal", real, fake, **others)
