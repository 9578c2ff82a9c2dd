"""How a tensor of one shape becomes one of another. A policy is a function; its name is what `on_mismatch` says.

Each takes the source's tensor, the model's as it was built, and the slot that it goes to, and returns a tensor of the
built shape, or raises ValueError with the reason why it cannot. All work on the meta device too, so that a plan can try
them without reading a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Slot:
    """Where a tensor goes.

    Attributes:
        layer: The module that holds it.
        attribute: Its name there: `weight`, `bias`, `running_mean`...
        old_classes: Names of the source's classes.
        new_classes: Names of the model's classes; empty where its data is not known.
    """

    layer: nn.Module
    attribute: str
    old_classes: Sequence[str] = ()
    new_classes: Sequence[str] = ()

    @property
    def input_dim(self) -> int | None:
        """The dimension of a weight that runs over inputs; None for what is no weight of a linear map."""
        if self.attribute not in ("weight", "original"):
            return None
        if isinstance(self.layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            return 0
        return 1 if isinstance(self.layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) else None


def slice(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """The first channels of a wider source."""
    _same_rank(old, built)
    if any(new > was for new, was in zip(built.shape, old.shape, strict=True)):
        raise ValueError("slice only makes tensors smaller; pad makes them larger")
    return old[_corner(built.shape)]


def pad(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """The source in the first channels, the further ones as they were built."""
    _same_rank(old, built)
    if any(new < was for new, was in zip(built.shape, old.shape, strict=True)):
        raise ValueError("pad only makes tensors larger; slice makes them smaller")
    padded = built.detach().clone()
    padded[_corner(old.shape)] = old.to(padded)
    return padded


def repeat(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """Grey to RGB: every channel k times; where they are inputs, each with a k-th of the weight.

    A grey image in three equal channels is then answered as it was in one.
    """
    dim, times = _ratio(old.shape, built.shape)
    repeated = old.repeat([times if index == dim else 1 for index in range(old.dim())])
    return repeated / times if dim == slot.input_dim else repeated


def mean(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """RGB to grey: the mean over k channels; where they are inputs, the sum. Of a table of classes, their mean."""
    if old.dim() == built.dim() + 1 and old.shape[1:] == built.shape:
        return old.mean(0)
    dim, times = _ratio(built.shape, old.shape)
    groups = old.unflatten(dim, (times, built.shape[dim]))
    return groups.sum(dim) if dim == slot.input_dim else groups.mean(dim)


def interpolate(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """A kernel or a learned constant of another height and width, bilinear; a kernel keeps its sum."""
    if old.dim() != 4 or built.dim() != 4 or old.shape[:2] != built.shape[:2]:
        raise ValueError("interpolate changes height and width of 4-d tensors, and nothing else")
    resized = F.interpolate(old.float(), size=built.shape[2:], mode="bilinear", align_corners=False)
    if slot.input_dim is None:
        return resized
    area = old.shape[2] * old.shape[3] / (built.shape[2] * built.shape[3])
    return resized * area


def grow(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """More classes: rows of known classes by name (by number without names), new ones the mean of all old rows.

    A vector that a table of classes takes the place of, as in a model that was unconditional, becomes each of its rows.
    """
    return _grow(old, built, slot, nearest=False)


def grow_nearest(old: Tensor, built: Tensor, slot: Slot) -> Tensor:
    """As `grow`, but each new class begins as the old one whose name is most like its own."""
    return _grow(old, built, slot, nearest=True)


def _grow(old: Tensor, built: Tensor, slot: Slot, nearest: bool) -> Tensor:
    if built.dim() == old.dim() + 1 and built.shape[1:] == old.shape:
        return old.expand(built.shape)
    _same_rank(old, built)
    if old.shape[1:] != built.shape[1:]:
        raise ValueError("grow changes the number of classes, the first dimension, and nothing else")
    places = class_places(len(old), len(built), slot.old_classes, slot.new_classes)
    if nearest and not (slot.old_classes and slot.new_classes):
        raise ValueError("grow_nearest needs the names of the classes, and the source or the data has none; type grow")
    average = old.float().mean(0).to(old.dtype)
    rows = []
    for place, new in enumerate(places):
        if new is None and nearest:
            new = _most_alike(slot.new_classes[place], slot.old_classes)
        rows.append(average if new is None else old[new])
    return torch.stack(rows)


def class_places(n_old: int, n_new: int, old: Sequence[str], new: Sequence[str]) -> list[int | None]:
    """Which old row each new class takes: that of its name, that of its number without names, None for none.

    Rows beyond the names of the data have none.
    """
    if len(old) == n_old and len(new) <= n_new and set(old) & set(new):
        named = [list(old).index(name) if name in old else None for name in new]
        return named + [None] * (n_new - len(new))
    return [index if index < n_old else None for index in range(n_new)]


def is_class_table(slot: Slot, shape: Sequence[int], n_classes: int) -> bool:
    """Whether a tensor has a row for each class: of an embedding, a conditional normalisation, or a classifier."""
    holds = isinstance(slot.layer, nn.Embedding | nn.Linear) or getattr(slot.layer, "normalizes", False) is True
    return holds and len(shape) > 0 and shape[0] == n_classes and slot.attribute not in ("running_mean", "running_var")


def _most_alike(name: str, names: Sequence[str]) -> int:
    return max(range(len(names)), key=lambda index: SequenceMatcher(None, name, names[index]).ratio())


def _same_rank(old: Tensor, built: Tensor) -> None:
    if old.dim() != built.dim():
        raise ValueError(f"it has {old.dim()} dimensions and the model's {built.dim()}")


def _corner(shape: Sequence[int]) -> tuple[object, ...]:
    from builtins import slice as span

    return tuple(span(size) for size in shape)


def _ratio(few: Sequence[int], many: Sequence[int]) -> tuple[int, int]:
    """The one dimension in which `many` is a multiple of `few`, and the multiple."""
    differing = [dim for dim, (a, b) in enumerate(zip(few, many, strict=False)) if a != b]
    if len(few) != len(many) or len(differing) != 1 or many[differing[0]] % few[differing[0]]:
        raise ValueError("one dimension has to be a multiple of the other's, and all others equal")
    return differing[0], many[differing[0]] // few[differing[0]]


Policy = Callable[[Tensor, Tensor, Slot], Tensor]
POLICIES: dict[str, Policy] = {
    policy.__name__: policy for policy in (slice, pad, repeat, mean, interpolate, grow, grow_nearest)
}
