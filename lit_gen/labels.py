"""Classes as people name them, into the numbers that networks take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError, nearest


def class_numbers(model: nn.Module, labels: Tensor | int | str | Sequence[int | str] | None, n: int) -> Tensor:
    """Labels (n,) int64 for a model with `n_classes` and `class_names`; its classes in turns where none are given.

    Args:
        model: Knows its classes.
        labels: Numbers or names, one for each image, or one for all.
        n: Number of images.

    Raises:
        UserError: Another number of labels, or a class that the model does not know.
    """
    if labels is None:
        return torch.arange(n) % model.n_classes
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    given = [labels] * n if isinstance(labels, int | str) else list(labels)
    if len(given) != n:
        raise UserError(f"{type(model).__name__}: found {len(given)} labels for {n} images. Give one for each, or one.")
    return torch.tensor([_number(model, label) for label in given], dtype=torch.int64)


def _number(model: nn.Module, label: Any) -> int:
    if label in model.class_names:
        return model.class_names.index(label)
    if isinstance(label, int) and 0 <= label < model.n_classes:
        return label
    names = ", ".join(model.class_names)
    raise UserError(
        f"{type(model).__name__}: no class {label!r}, expected 0 to {model.n_classes - 1}"
        f"{f' or one of {names}' if names else ''}.{nearest(str(label), model.class_names)}"
    )
