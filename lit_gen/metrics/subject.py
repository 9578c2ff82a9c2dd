"""What is measured: images that a model makes, always the same ones, and the real ones that they are held against."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import Dataset, Subset

from lit_gen.errors import UserError
from lit_gen.metrics.base import Metric
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.features import BATCH, SetFeatures, features_of_set
from lit_gen.metrics.path_length import latent_steps
from lit_gen.pictures import in_order
from lit_gen.ranks import Ranks

Against = Literal["held-out", "train"]
MOST_TRAIN = 10_000  # train images that generated ones are held against: more of them change no share that is seen


@dataclass(frozen=True)
class Reals:
    """Real images with their features, in the first process; the others have None for these.

    Attributes:
        images: Those that the model is held against.
        train: Train images without augmentation, at most MOST_TRAIN of them, spread over the set.
        features: Of `images`.
        train_features: Of `train`.
    """

    images: Dataset
    train: Dataset
    features: SetFeatures | None
    train_features: SetFeatures | None


@dataclass(frozen=True)
class Subject:
    """One way in which a model makes images, dealt to the processes in batches of BATCH.

    Attributes:
        model: It has `make`, and `decode` where it begins with latents.
        mode: The model's name for this way of making images.
        n: Images that are made.
        seed: Of the latents.
        reals: What they are held against.
        source: Images to translate, for a model that translates; one image is made of each.
        prefix: Of the numbers' names, where a model is measured in several ways.
    """

    model: Any
    mode: str
    n: int
    seed: int
    reals: Reals
    source: Dataset | None = None
    prefix: str = ""

    @property
    def labels(self) -> Tensor | None:
        """(n,): the class of each image that is asked for, where the model and the real images have classes.

        In the proportions of the real images, or a rare class would count as a fault of the model.
        """
        real = classes_of(self.reals.images)
        if self.source is not None or real is None or getattr(self.model, "n_classes", None) is None:
            return None
        return real[torch.arange(self.n) % len(real)]

    def batches(self, turns: slice = slice(None)) -> Iterator[Tensor]:
        """Images (B, C, H, W) in [-1, 1] of these batches."""
        source = None if self.source is None else in_order(self.source, list(range(self.n)), BATCH)
        labels = None if self.labels is None else self.labels.tolist()
        for made in self.model.make(self.mode, self.n, self.seed, BATCH, source, labels, turns):
            yield made.images

    def rows(self, wanted: Sequence[int]) -> Tensor:
        """A few of the images, by their numbers: only the batches that they lie in are made again."""
        found = {turn: next(self.batches(slice(turn, turn + 1))) for turn in {row // BATCH for row in wanted}}
        return torch.stack([found[row // BATCH][row % BATCH].cpu() for row in wanted])

    def ends_of_steps(self, end: int, n: int, turns: slice) -> Iterator[Tensor]:
        """Images at one end (0 or 1) of n short steps in latent space, for the perceptual path length."""
        z = latent_steps(n, self.model.latent_dim, self.seed)[end]
        parts = zip(*(values.split(BATCH) for values in (z, *self.model.conditions(n))), strict=True)
        for z, *cond in list(parts)[turns]:
            yield self.model.decode(z, tuple(cond))

    def check(self, metrics: Sequence[Metric]) -> None:
        """Refuses a metric that there are too few images for.

        Raises:
            UserError: See Metric.check.
        """
        for metric in metrics:
            metric.check(len(self.reals.images), self.n)


def subjects_of(
    model: LightningModule,
    data: Any,
    split: Literal["val", "test"],
    n: int,
    seed: int,
    against: Against,
    extractor: Extractor,
    ranks: Ranks,
    step: Callable[[int], Any] | None = None,
) -> list[Subject]:
    """All ways in which a model's images are measured, beside the real images that they are held against.

    Args:
        model: Says in `evaluated` which ways there are, and the domain of the real images for each.
        data: A data module with `train_set` and `<split>_set`.
        split: The held-out images.
        n: Images to make.
        seed: Of the latents.
        against: `train` takes the train images instead of held-out ones.
        extractor: On the model's device.
        ranks: All processes take part.
        step: Is told the number of images after each batch.

    Raises:
        UserError: The model makes no images, or there are no held-out ones.
    """
    ways = getattr(model, "evaluated", {})
    if not ways:
        raise UserError(
            f"Evaluation: {type(model).__name__} makes no images that could be measured. Leave it out of the callbacks."
        )
    train, held_out = (getattr(data, f"{name}_set", None) for name in ("train", split))
    if not train or (against == "held-out" and not held_out):
        raise UserError(
            f"Evaluation: found no {split if train else 'train'} images in {type(data).__name__}, expected some that "
            f"the model has not seen.\nType --data.{split}_fraction 0.1, or let Evaluation go `against: train`."
        )
    found = []
    for mode, domain in ways.items():
        images = unaugmented(of_domain(train if against == "train" else held_out, domain))
        seen = few(unaugmented(of_domain(train, domain)), MOST_TRAIN)
        reals = Reals(images, seen, *(features_of_set(rows, extractor, ranks, step=step) for rows in (images, seen)))
        check_variety(reals, extractor, ranks)
        source = None if domain is None else of_domain(held_out or train, "b" if domain == "a" else "a")
        prefix = f"{mode}_" if len(ways) > 1 else ""
        found.append(Subject(model, mode, n if source is None else len(source), seed, reals, source, prefix))
    return found


def check_variety(reals: Reals, extractor: Extractor, ranks: Ranks) -> None:
    """Refuses real images that are all the same.

    Raises:
        UserError: They are, to the extractor.
    """
    rows = None if reals.features is None else reals.features.features
    if ranks.broadcast(rows is not None and bool((rows == rows[0]).all())):
        raise UserError(
            f"Evaluation: all {len(reals.images):,} real images look the same to {extractor.name}, expected various."
            "\nLook at the images of the data set."
        )


def of_domain(dataset: Dataset, domain: str | None) -> Dataset:
    """The images of one domain of a set that has two, each once."""
    return dataset if domain is None else getattr(dataset, domain)


def unaugmented(dataset: Dataset) -> Dataset:
    """The same images without the random flip that training may see them with."""
    if not getattr(dataset, "flip", False):
        return dataset
    dataset = copy.copy(dataset)
    dataset.flip = False
    return dataset


def few(dataset: Dataset, most: int) -> Dataset:
    """All of a set, or so many rows spread over it."""
    if len(dataset) <= most:
        return dataset
    return Subset(dataset, [row * len(dataset) // most for row in range(most)])


def classes_of(dataset: Dataset) -> Tensor | None:
    """Labels (N,) of a set's images, None where they have none."""
    if isinstance(dataset, Subset):
        labels = classes_of(dataset.dataset)
        return None if labels is None else labels[torch.as_tensor(dataset.indices)]
    labels = getattr(dataset, "labels", None)
    return labels if isinstance(labels, Tensor) else None
