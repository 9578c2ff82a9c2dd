"""Pictures that a person looks at: what a model makes, the grid of it, the held-out images that it starts from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision.utils import make_grid


class Made(NamedTuple):
    """What a model's `make` gives, batch by batch.

    Attributes:
        images: (B, C, H, W) in [-1, 1], each worth a file of its own; wider where it is a strip of several.
        panels: (B, k, C, H, W), what a grid shows for each image, such as source | translation | reconstruction;
            None shows the image itself.
        period: Above 1, image i stands in the grid's row i % period: one row for each class.
    """

    images: Tensor
    panels: Tensor | None = None
    period: int = 1


def image_grid(made: Iterable[Made], cells: int = 64) -> Tensor:
    """The first of what a model made side by side, in about a square of `cells` images: (C, H', W') in [0, 1].

    Only as much is taken from `made` as the grid shows: one image at least, and one of each class where there are rows
    for them.
    """
    panels, period = _first(made, cells)
    width = panels.shape[1]
    if period > 1 and len(panels) >= period:
        per_row = min(len(panels) // period, math.ceil(math.sqrt(cells)))  # few classes make no endless rows
        panels = panels[: per_row * period].unflatten(0, (per_row, period)).transpose(0, 1).flatten(0, 1)
    else:
        per_row = min(len(panels), math.ceil(math.sqrt(len(panels) / width)))
    # Panels of several images have a gap of their own around them, so that what belongs together is seen.
    images = panels.flatten(0, 1).float().cpu()
    grid = make_grid(images, nrow=per_row * width, normalize=True, value_range=(-1, 1), pad_value=0.5)
    return grid if width == 1 else _widen(grid, images.shape[-1] + 2, width, per_row)


def _first(made: Iterable[Made], cells: int) -> tuple[Tensor, int]:
    """As many whole panels (n, k, C, H, W) as `cells` images make, and their period."""
    parts: list[Tensor] = []
    for images, panels, period in made:  # noqa: B007 (the last period is that of all)
        parts.append(images[:, None].cpu() if panels is None else panels.cpu())
        wanted = max(1, cells // parts[0].shape[1], period)
        if sum(len(part) for part in parts) >= wanted:
            break
    return torch.cat(parts)[:wanted], period


def _widen(grid: Tensor, step: int, width: int, per_row: int) -> Tensor:
    """Puts four more grey columns between neighbouring panels."""
    cuts = [step * width * panel + 2 for panel in range(1, per_row)]
    parts = grid.tensor_split(cuts, dim=2) if cuts else (grid,)
    gap = torch.full((*grid.shape[:2], 4), 0.5)
    return torch.cat([piece for part in parts for piece in (part, gap)][:-1], dim=2)


def spread(dataset: Dataset, n: int, batch_size: int = 256) -> Iterator[tuple[Any, ...]]:
    """n rows of a data set as batches, all where it has fewer, in an order of which every beginning is spread evenly.

    Many a set is sorted by class, and a grid shows the first of what was made.
    """
    n = min(n, len(dataset))
    # Steps of the golden ratio leave no wide gap at any time; `stride` is the nearest that visits every place once.
    stride = next(step for step in range(max(1, round(n * 0.618)), n + 1) if math.gcd(step, n) == 1)
    rows = [index * stride % n * len(dataset) // n for index in range(n)]
    yield from in_order(dataset, rows, batch_size)


def in_order(dataset: Dataset, rows: list[int], batch_size: int = 256) -> Iterator[tuple[Any, ...]]:
    """These rows of a data set as batches."""
    for start in range(0, len(rows), batch_size):
        yield rows_of(dataset, rows[start : start + batch_size])


def rows_of(dataset: Dataset, rows: list[int]) -> tuple[Any, ...]:
    """These rows as one batch, by the data set's own batched access where it has one."""
    if hasattr(dataset, "__getitems__"):
        batch = dataset.__getitems__(rows)
        return batch if isinstance(batch, tuple) else tuple(default_collate(batch))
    return tuple(default_collate([dataset[row] for row in rows]))


def held_out(data: Any, *splits: str) -> Dataset | None:
    """The first of a data module's splits (`test_set`, `val_set`, `train_set`) that has images in it."""
    sets = (getattr(data, split, None) for split in splits)
    return next((found for found in sets if found is not None and len(found)), None)
