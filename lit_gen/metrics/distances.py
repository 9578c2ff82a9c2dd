"""Distances between rows of features, a few rows at a time: what all metrics of neighbours stand on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_gen.errors import UserError

ROWS = 2048  # of features that are in memory in float64 at once
ENTRIES = 4_000_000  # of distances, 32 MB
SAME = 1e-13  # of the squared lengths: nearer to each other than float32 features can tell apart


def row_parts(n: int, width: int = 1) -> Iterator[slice]:
    """Slices of n rows so long that their distances to `width` others fit into memory."""
    step = max(1, min(ROWS, ENTRIES // max(width, 1)))
    return (slice(start, start + step) for start in range(0, n, step))


def finite(x: Tensor) -> Tensor:
    """Rows x in float64.

    Raises:
        UserError: A feature is not finite.
    """
    x = x.double()
    if not x.isfinite().all():
        raise UserError("Found features that are not finite, expected numbers.\nLook at the images first.")
    return x


def mean_row(x: Tensor) -> Tensor:
    """Mean of the rows of x (N, F), (F,) float64: distances seen from here lose the least in rounding."""
    return sum(finite(x[rows]).sum(0) for rows in row_parts(len(x))) / len(x)


def unit_rows(x: Tensor) -> Tensor:
    """Rows at length 1, float64 (Zhang et al. 2018, arXiv:1801.03924, eq. 1); a row of zeros stays one."""
    x = finite(x)
    return x / x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def squared_distances(x: Tensor, y: Tensor, origin: Tensor | None = None, unit: bool = False) -> Tensor:
    """|x_i - y_j|^2 of every pair, by |x|^2 + |y|^2 - 2 x.y in float64; exactly 0 where two rows are the same.

    Args:
        x: (N, F), as many rows as `row_parts` gives.
        y: (M, F), which may be a memory map: it is read in parts.
        origin: (F,), where both are seen from, such as `mean_row(y)`: only rounding depends on it.
        unit: Goes by `unit_rows` instead of the origin: the squared distances lie in [0, 4].

    Returns:
        (N, M) float64.

    Raises:
        UserError: A feature is not finite.
    """

    def seen(rows: Tensor) -> tuple[Tensor, Tensor]:
        found = unit_rows(rows) if unit else finite(rows) - (0 if origin is None else origin)
        return found, found.square().sum(1)

    x, x_length = seen(x)
    found = torch.empty(len(x), len(y), dtype=torch.float64)
    for columns in row_parts(len(y)):
        part, length = seen(y[columns])
        lengths = x_length[:, None] + length
        squared = torch.addmm(lengths, x, part.T, alpha=-2)
        found[:, columns] = squared.masked_fill_(squared < SAME * lengths, 0)
    return found
