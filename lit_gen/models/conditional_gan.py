"""Conditional GAN: both networks are told the class, so that images of a wanted class can be made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from lit_gen.agreement import check_generator, check_labels, class_numbers
from lit_gen.errors import UserError
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
        turns: slice = slice(None),
    ) -> Iterator[Made]:
        """The images of `sample`, `batch_size` at a time; a grid of all classes in turn has one row for each."""
        for made in super().make(mode, n, seed, batch_size, source, labels, turns):
            yield made._replace(period=self.n_classes if labels is None else 1)

    def conditions(self, n: int, labels: Labels | None = None) -> tuple[Tensor, ...]:
        """Labels (n,) int64: all classes in turns where none are given."""
        return (class_numbers(self, labels, n),)

    def check_labels(self) -> None:
        """Refuses networks without classes, data without labels, and data with classes that the networks lack."""
        check_generator(self)
        name = type(self).__name__
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
        check_labels(self, list(TAKE_LABELS))
