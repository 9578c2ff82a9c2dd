"""Where a model and its data have to agree: classes, as people name them and as networks number them, and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_gen.errors import UserError, nearest
from lit_gen.pictures import rows_of
from lit_gen.sampling import evaluating


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
    given = [labels] * n if isinstance(labels, int | float | str) else list(labels)
    if len(given) != n:
        raise UserError(
            f"{_name(model)}: found {len(given)} labels, expected {n}, one for each image.\nGive {n} of them, one "
            "class for all images, or none to have all classes in turns."
        )
    return torch.tensor([_number(model, label) for label in given], dtype=torch.int64)


def _number(model: LightningModule, label: int | float | str) -> int:
    if label in model.class_names:
        return model.class_names.index(label)
    if not isinstance(label, str) and int(label) == label and 0 <= label < model.n_classes:
        return int(label)
    names = f" or one of {', '.join(model.class_names)}" if model.class_names else ", as its data had no names"
    raise UserError(
        f"{_name(model)}: found label {label!r}, but this model has {model.n_classes} classes: expected 0 to "
        f"{model.n_classes - 1}{names}.{nearest(str(label), model.class_names)}"
    )


def example(model: LightningModule) -> tuple[Tensor, ...] | None:
    """A train batch of one row, to see what batches hold; None where the data does not show its train set."""
    train_set = getattr(model.trainer.datamodule, "train_set", None)
    if not train_set:
        return None
    with torch.random.fork_rng(devices=[]):  # it may be flipped at random
        return rows_of(train_set, [0])


def check_no_labels(model: LightningModule) -> None:
    """Before training a model whose networks see images and nothing else.

    Raises:
        UserError: A batch holds more than images.
    """
    batch = example(model)
    if batch is not None and len(batch) > 1:
        found = "labels" if batch[1].dim() == 1 else "two domains"
        other = "--data.labels false, or use ConditionalGAN" if batch[1].dim() == 1 else "--model CycleGAN"
        raise UserError(
            f"{_name(model)}: the data's batches hold {found}, and this model takes images alone. Type {other}."
        )


def check_pairs(model: LightningModule) -> None:
    """Before training a model that translates between two domains.

    Raises:
        UserError: A batch does not hold images of two domains.
    """
    batch = example(model)
    if batch is not None and (len(batch) != 2 or batch[1].dim() != 4):
        found = "images and labels" if len(batch) == 2 else "images of one domain"
        raise UserError(
            f"{_name(model)}: found batches of {found}, expected images of two domains.\nType --data UnpairedFolders "
            "--data.root_a DIR --data.root_b DIR."
        )


def check_labels(model: LightningModule, networks: Sequence[str]) -> None:
    """Before training a model whose networks may take labels (`model.n_classes` is not None).

    Args:
        model: About to be trained.
        networks: Those that have `n_classes`, for the message; empty where the model itself has it.

    Raises:
        UserError: The networks take labels that the data's batches do not hold, or know fewer classes than there are.
    """
    batch = example(model)
    if batch is not None and len(batch) > 1 and batch[1].dim() != 1:
        raise UserError(
            f"{_name(model)}: found batches of images of two domains, expected images of one. Type --model CycleGAN, "
            "or --data with a data set of one domain."
        )
    if model.n_classes is None:
        return
    if batch is not None and len(batch) < 2:
        raise labels_missing(model, networks)
    found = getattr(model.trainer.datamodule, "n_classes", 0)
    options = " ".join(f"{option} {found}" for option in _class_options(networks))
    knows = "the networks have" if networks else "the model has"
    if found > model.n_classes:
        raise UserError(
            f"{_name(model)}: the data has {found} classes, {knows} {model.n_classes}.\nType {options}, or "
            "take fewer with --data.classes."
        )
    if 0 < found < model.n_classes:
        rank_zero_warn(
            f"{_name(model)}: {knows} {model.n_classes} classes, the data only {found}: nothing will be "
            f"learnt of the others. Type {options}."
        )


def labels_missing(model: LightningModule, networks: Sequence[str]) -> UserError:
    """What a batch without labels is answered with."""
    options = " and ".join(_class_options(networks))
    return UserError(
        f"{_name(model)}: found batches of images alone, expected images and labels: {options} is {model.n_classes}.\n"
        f"Type --data.labels true{', or use networks without classes' if networks else ''}."
    )


def _class_options(networks: Sequence[str]) -> list[str]:
    """What a user types to set the number of classes, once for each network, or of the model itself."""
    return [f"--model.{name}.n_classes" for name in networks] or ["--model.n_classes"]


def check_generator(model: LightningModule) -> None:
    """Refuses a generator that is none.

    Raises:
        UserError: It has no `latent_dim`.
    """
    if not isinstance(getattr(model.generator, "latent_dim", None), int):
        raise UserError(
            f"{_name(model)}: the generator, a {type(model.generator).__name__}, has no latent_dim: it makes no images "
            "from z.\nType --model.generator DCGANGenerator, say."
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


def check_discriminator(model: LightningModule, made: Tensor) -> None:
    """Before training: the discriminator has to take the generator's images and to say of them what the loss expects.

    Args:
        model: With a discriminator.
        made: Two images of its generator's.

    Raises:
        UserError: It does not.
    """
    cond = (values.to(made.device) for values in model.conditions(len(made)))
    try:
        with evaluating(model.discriminator) as discriminator:
            judged = discriminator(made if model.front is None else model.front(made), *cond)
    except RuntimeError as error:
        raise UserError(
            f"{_name(model)}: the discriminator does not take the generator's images, {by(made.shape[1:])}: {error}\n"
            "Give --model.discriminator.image_size and .channels the values of the generator's."
        ) from error
    model.loss.check(judged)


def refuse_labels(model: LightningModule, labels: Any) -> None:
    """Labels for a model, or one of its modes, that takes none would be forgotten silently."""
    if labels is not None:
        raise UserError(
            f"{_name(model)}: labels were given, but these images are made without. Leave the labels out: only "
            "samples of a model that knows classes can be asked for by class."
        )


def unknown_mode(model: LightningModule, mode: str) -> UserError:
    """What the wish for something that a model cannot make is answered with."""
    return UserError(
        f"{_name(model)}: there is no mode {mode!r}, this one can make {', '.join(model.modes)}."
        f"{nearest(mode, model.modes)} Type --mode {model.modes[0]}, say."
    )


def by(shape: Sequence[int]) -> str:
    """1x28x28, say."""
    return "x".join(str(size) for size in shape)


def _name(model: LightningModule) -> str:
    return type(model).__name__
