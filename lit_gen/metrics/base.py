"""What a metric goes by, what it says, and what all of them have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.jackknife import blocks_for, interval, without

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Evidence:
    """Features of images by one extractor, a row for each image, float32; often memory maps, so read them in parts.

    What only some metrics go by is there where one of them needs it.

    Attributes:
        extractor: Name of the extractor.
        real: (N, F), of the images that the model is held against: held-out ones, unless the name says otherwise.
        fake: (M, F), of generated images.
        train: (T, F), of the images that the model learnt from.
        real_labels: (N,) int64, where the images have classes.
        fake_labels: (M,) int64, where the model was asked for classes.
        train_labels: (T,) int64.
        fake_logits: (M, K), what the extractor's classifier says of the generated images.
        real_logits: (N, K), what it says of the real ones.
        real_images: (N, C, H, W) uint8.
        fake_images: (M, C, H, W) uint8, rounded as real ones are.
        path: (P, 2, F), of images at both ends of a short step in latent space.
        path_step: Length of that step, as a share of the way between two latents.
    """

    extractor: str
    real: Tensor
    fake: Tensor
    train: Tensor | None = None
    real_labels: Tensor | None = None
    fake_labels: Tensor | None = None
    train_labels: Tensor | None = None
    fake_logits: Tensor | None = None
    real_logits: Tensor | None = None
    real_images: Tensor | None = None
    fake_images: Tensor | None = None
    path: Tensor | None = None
    path_step: float = 1e-4

    def without(self, block: int, blocks: int) -> Evidence:
        """A block less of every set."""
        names = [name for name, value in vars(self).items() if isinstance(value, Tensor)]
        return replace(self, **{name: without(getattr(self, name), block, blocks) for name in names})


@dataclass(frozen=True)
class Estimate:
    """One number with what it takes to read it.

    Attributes:
        name: Of the number, such as `kid`.
        value: From all images.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n_real: Images that the model was held against.
        n_fake: Generated images.
        extractor: Name of the network whose features were compared, or `pixels`; numbers of different ones cannot be.
        better: Which way is better.
        replicates: The value without each block of images, for the interval of a difference.
    """

    name: str
    value: float
    low: float
    high: float
    n_real: int
    n_fake: int
    extractor: str
    better: Better
    replicates: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """`kid_efficientnet_lite0`: what numbers of different spaces never share."""
        return f"{self.name}_{self.extractor}"

    def beats(self, value: float) -> bool:
        """Whether this one's value is better than another value."""
        return self.value < value if self.better == "lower" else self.value > value


class Metric(ABC):
    """Base of the metrics: a class with one file of its own, which YAML names.

    Attributes:
        better: The names of the numbers that it finds, and which way each is better.
        least: So few images of each set are enough, in `real` and in `fake`.
        needs: Which parts of the evidence, beside `real` and `fake`, it goes by.
        within: The values that its numbers can have; intervals end there.
        by_default: Whether a test has it where nobody says what is to be measured.
        space: Where it compares images, if not among the extractor's features: the last part of its numbers' keys.
    """

    better: ClassVar[dict[str, Better]]
    least: ClassVar[int] = 4
    needs: ClassVar[tuple[str, ...]] = ()
    within: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    by_default: ClassVar[bool] = True
    space: ClassVar[str | None] = None

    @abstractmethod
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        """Each name of `better` with its number, in float64."""

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """The numbers without each of the blocks; a metric that knows a shorter way overrides this."""
        found = [self(evidence.without(block, blocks)) for block in range(blocks)]
        return {name: [numbers[name] for numbers in found] for name in self.better}

    def measured(self, evidence: Evidence, blocks: int) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
        """The numbers, and those without each block; overridden where one pass over the images finds both."""
        return self(evidence), self.replicates(evidence, blocks)

    def estimate(self, evidence: Evidence) -> list[Estimate]:
        """The numbers with their 95 % intervals, of the delete-a-block jackknife.

        Raises:
            UserError: There are fewer images than the metric can bear, or something that it needs is missing.
        """
        sizes = self.counts(evidence)
        self.check(*sizes)
        self.check_needs(evidence)
        numbers, replicates = self.measured(evidence, blocks_for(*sizes))
        return [self._described(name, numbers[name], replicates[name], evidence) for name in self.better]

    def counts(self, evidence: Evidence) -> tuple[int, int]:
        """How many real and how many generated images the numbers go by."""
        return len(evidence.real), len(evidence.fake)

    def bounds(self, name: str) -> tuple[float, float]:
        """The values that this number can have: `within`, unless a metric has numbers of several kinds."""
        return self.within

    def _described(self, name: str, value: float, replicates: Sequence[float], evidence: Evidence) -> Estimate:
        least, most = self.bounds(name)
        low, high = (min(max(end, least), most) for end in interval(value, replicates))
        about = *self.counts(evidence), self.space or evidence.extractor, self.better[name]
        return Estimate(name, value, low, high, *about, tuple(replicates))

    def check(self, n_real: int, n_fake: int) -> None:
        """Refuses fewer images than the metric can bear.

        Raises:
            UserError: There are fewer than `least` of either.
        """
        for kind, n in (("real", n_real), ("generated", n_fake)):
            if n < self.least:
                raise UserError(
                    f"{type(self).__name__}: found {n} {kind} images, expected at least {self.least}.\nGive it more, "
                    "or leave it out of the metrics."
                )

    def check_needs(self, evidence: Evidence) -> None:
        """Refuses evidence that lacks what the metric goes by.

        Raises:
            UserError: A part that it needs is missing, or there are too few training images.
        """
        missing = [name for name in self.needs if getattr(evidence, name) is None]
        if missing:
            raise UserError(
                f"{type(self).__name__}: found no {', '.join(missing)}, expected {', '.join(self.needs)} beside the "
                "real and the generated images.\nLeave it out of the metrics, or judge a model and data that have them."
            )
        if "train" in self.needs and len(evidence.train) < self.least:
            raise UserError(
                f"{type(self).__name__}: found {len(evidence.train)} training images, expected at least {self.least}.\n"
                "Give it more, or leave it out of the metrics."
            )
