"""Conditional GAN: both networks are told the class, so that images of a wanted class can be made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_gen.errors import UserError, nearest
from lit_gen.models.gan import GAN
from lit_gen.pictures import Made

# One class for all images, or one for each; by number, or by name where the run's data had names.
Labels = int | str | Tensor | Sequence[int | str]

# What a message proposes in place of a network that takes no labels.
TAKE_LABELS = {"generator": "ConditionalDCGANGenerator", "discriminator": "ProjectionDCGANDiscriminator"}


class ConditionalGAN(GAN):
    """Conditional GAN (Mirza & Osindero 2014, arXiv:1411.1784, eq. 2): the game of GAN, with labels for both players.

    A batch is `(images, labels)`, int64 labels (B,). How labels enter is the networks' own affair; both have
    `n_classes`. Fakes are made of the classes of the real batch: both are judged by the same mixture.

    The arguments are those of GAN; see there.
    """

    @property
    def n_classes(self) -> int:
        """Number of classes that the networks know."""
        return self.generator.n_classes

    def sample(self, n: int, labels: Labels | None = None, seed: int | None = None) -> Tensor:
        """Images (n, C, H, W) in [-1, 1] from the EMA weights where there are any; training modes stay as they were.

        Args:
            n: Number of images.
            labels: The class of each image, (n,), or one for all of them: numbers, or the names of `class_names`. All
                classes in turn by default.
            seed: The same seed gives the same z; None continues torch's own random stream.

        Raises:
            UserError: `labels` are not n, or not classes of this model.
        """
        return super().sample(n, labels, seed)

    def make(
        self,
        mode: str,
        n: int,
        seed: int | None = None,
        batch_size: int = 256,
        source: Iterable[tuple[Tensor, ...]] | None = None,
        labels: Labels | None = None,
    ) -> Iterator[Made]:
        """The images of `sample`, `batch_size` at a time; a grid of all classes in turn has one row for each."""
        for made in super().make(mode, n, seed, batch_size, source, labels):
            yield made._replace(period=self.n_classes if labels is None else 1)

    def conditions(self, n: int, labels: Labels | None = None) -> tuple[Tensor, ...]:
        """Labels (n,) int64: all classes in turn where none are given."""
        if labels is None:
            return (torch.arange(n) % self.n_classes,)
        several = not isinstance(labels, int | str) and not (isinstance(labels, Tensor) and labels.dim() == 0)
        given = list(labels) if several else [labels] * n
        if len(given) != n:
            raise UserError(
                f"{type(self).__name__}: found {len(given)} labels, expected {n}, one for each image.\nGive {n} of "
                "them, one class for all images, or none to have all classes in turn."
            )
        return (torch.tensor([self.class_index(label) for label in given], dtype=torch.int64),)

    def class_index(self, label: int | str | Tensor) -> int:
        """The number of a class that is given by number or by name.

        Raises:
            UserError: This model knows no such class.
        """
        names = [str(name) for name in self.class_names]
        if isinstance(label, str):
            if label not in names:
                known = ", ".join(names) if names else f"only numbers, 0 to {self.n_classes - 1}"
                raise UserError(
                    f'{type(self).__name__}: found label "{label}", but the classes of this model are: {known}.'
                    + nearest(label, names)
                )
            return names.index(label)
        if not 0 <= label < self.n_classes or int(label) != label:
            named = f" ({', '.join(names)})" if names else ""
            raise UserError(
                f"{type(self).__name__}: found label {label:g}, but this model has {self.n_classes} classes{named}: "
                f"expected 0 to {self.n_classes - 1}."
            )
        return int(label)

    def check_labels(self) -> None:
        """Refuses networks without classes, data without labels, and data with classes that the networks lack."""
        name, data = type(self).__name__, self.trainer.datamodule
        sizes = {part: getattr(getattr(self, part), "n_classes", None) for part in TAKE_LABELS}
        for part, size in sizes.items():
            if size is None:
                raise UserError(
                    f"{name}: the {part}, a {type(getattr(self, part)).__name__}, has no n_classes: it takes no "
                    f"labels.\nType --model.{part} {TAKE_LABELS[part]}, say, or --model GAN for images without classes."
                )
        if sizes["generator"] != sizes["discriminator"]:
            raise UserError(
                f"{name}: the generator has n_classes {sizes['generator']}, the discriminator has "
                f"{sizes['discriminator']}, expected the same.\nGive --model.generator.n_classes and "
                "--model.discriminator.n_classes the number of classes in the data."
            )
        if getattr(data, "labels", True) is False:
            raise UserError(
                f"{name}: found batches of images alone, expected images and labels.\nType --data.labels true."
            )
        found = len(getattr(data, "class_names", None) or [])
        type_this = f"Type --model.generator.n_classes {found} --model.discriminator.n_classes {found}"
        if found > self.n_classes:
            raise UserError(
                f"{name}: the data has {found} classes, the generator and the discriminator have {self.n_classes}.\n"
                f"{type_this}, or take fewer with --data.classes."
            )
        if 0 < found < self.n_classes:
            rank_zero_warn(
                f"{name}: the networks have {self.n_classes} classes, the data only {found}: nothing will be learnt of "
                f"the others. {type_this}."
            )
