"""Where a model and its data have to agree: classes, as people name them and as networks number them, and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lit_gen.errors import UserError, nearest


def class_numbers(model: LightningModule, labels: Tensor | int | str | Sequence[int | str] | None, n: int) -> Tensor:
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
        raise UserError(f"{_name(model)}: found {len(given)} labels for {n} images. Give one for each, or one for all.")
    return torch.tensor([_number(model, label) for label in given], dtype=torch.int64)


def _number(model: LightningModule, label: Any) -> int:
    if label in model.class_names:
        return model.class_names.index(label)
    if isinstance(label, int) and 0 <= label < model.n_classes:
        return label
    names = ", ".join(model.class_names)
    raise UserError(
        f"{_name(model)}: no class {label!r}, expected 0 to {model.n_classes - 1}"
        f"{f' or one of {names}' if names else ''}.{nearest(str(label), model.class_names)}"
    )


def check_labels(model: LightningModule, networks: Sequence[str]) -> None:
    """Before training a model whose networks may take labels (`model.n_classes` is not None).

    Raises:
        UserError: The networks take labels that the data's batches do not hold, or know fewer classes than there are.
    """
    data = model.trainer.datamodule
    if model.n_classes is None or data is None:
        return
    if not getattr(data, "labels", True):
        raise labels_missing(model, networks)
    found = getattr(data, "n_classes", 0)
    if found > model.n_classes:
        options = " ".join(f"--model.{name}.n_classes {found}" for name in networks)
        raise UserError(
            f"{_name(model)}: the data has {found} classes, the networks know {model.n_classes}. Type {options}, or "
            "name fewer classes: --data.classes."
        )


def labels_missing(model: LightningModule, networks: Sequence[str]) -> UserError:
    """What a batch without labels is answered with."""
    options = " and ".join(f"--model.{name}" for name in networks)
    return UserError(
        f"{_name(model)}: the networks take labels (n_classes {model.n_classes}), but the data's batches hold none.\n"
        f"Type --data.labels true, or leave n_classes out of {options}."
    )


def check_shape(model: LightningModule, made: Sequence[int], maker: str) -> None:
    """Before training: images as the data has them (`model.image_shape`), and as the network called `maker` makes them.

    Raises:
        UserError: They differ.
    """
    if model.image_shape is not None and tuple(model.image_shape) != tuple(made):
        raise UserError(
            f"{_name(model)}: the data's images are {by(model.image_shape)}, the {maker} makes {by(made)} (channels x "
            f"height x width).\nGive --data.image_size and --data.channels the values of --model.{maker}.image_size "
            f"and --model.{maker}.channels."
        )


def by(shape: Sequence[int]) -> str:
    """1x28x28, say."""
    return "x".join(str(size) for size in shape)


def _name(model: LightningModule) -> str:
    return type(model).__name__
