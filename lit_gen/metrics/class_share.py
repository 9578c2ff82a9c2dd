"""What share of generated images a classifier of photographs takes for what they are meant to show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.jackknife import kept

CATS = [281, 282, 283, 284, 285]  # tabby, tiger, Persian, Siamese and Egyptian cat
IMAGENET = 1000


class ClassShare(Metric):
    """Share of images with argmax_y p(y|x) in these classes, p as in Salimans et al. 2016 (1606.03498, section 4).

    `class_share` is that of generated images, in [0, 1]. `class_share_of_real` divides it by the share of the real
    images that they are held against, and is above 1 where the classifier knows generated ones better than real ones.
    Neither sees whether images vary: a single good cat, made over and over, has a share of 1. As it is about a few of
    ImageNet's classes, no test has it that does not ask for it.

    Args:
        classes: Numbers of the classes among ImageNet's 1,000; by default those of the cats, 281 to 285.

    Raises:
        UserError: There are no classes, or a number is outside 0 to 999.
    """

    better: ClassVar[dict[str, Better]] = {"class_share": "higher", "class_share_of_real": "higher"}
    needs = ("fake_logits", "real_logits")
    by_default = False

    def __init__(self, classes: list[int] | None = None) -> None:
        self.classes = list(CATS) if classes is None else classes
        if not self.classes or not all(0 <= number < IMAGENET for number in self.classes):
            raise UserError(
                f"ClassShare: found classes {self.classes}, expected numbers of ImageNet's classes from 0 to "
                f"{IMAGENET - 1}.\nType classes: {CATS} for the cats."
            )

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        """Both shares.

        Raises:
            UserError: The classifier has not got these classes, or puts no real image into these.
        """
        return {name: values[0] for name, values in self._shares(evidence, 0).items()}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """All of them by counting.

        Raises:
            UserError: All real images of these classes are in one block: without it there is no ratio, and no interval.
        """
        return self._shares(evidence, blocks)

    def check_needs(self, evidence: Evidence) -> None:
        if evidence.fake_logits is None:
            raise UserError(
                f"ClassShare: {evidence.extractor} has no classifier, expected one that knows ImageNet's classes.\n"
                "Take EfficientNetExtractor, or leave ClassShare out of the metrics."
            )
        super().check_needs(evidence)

    def bounds(self, name: str) -> tuple[float, float]:
        return (0.0, 1.0 if name == "class_share" else math.inf)

    def _inside(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Which generated (M,) and which real images (N,) are put into the classes, bool."""
        n_classes = evidence.fake_logits.shape[1]
        if not max(self.classes) < n_classes <= IMAGENET:  # Inception-v3's 1,008 are in an order of their own
            raise UserError(
                f"ClassShare: found the {n_classes} classes of {evidence.extractor}, expected {self.classes} among "
                f"ImageNet's {IMAGENET} in their usual order.\nTake EfficientNetExtractor, or other classes."
            )
        return tuple(
            torch.isin(logits.argmax(1), torch.tensor(self.classes))
            for logits in (evidence.fake_logits, evidence.real_logits)
        )

    def _shares(self, evidence: Evidence, blocks: int) -> dict[str, list[float]]:
        """Both numbers of each replicate; 0 blocks leave nothing out."""
        fake, real = self._inside(evidence)
        generated, held_out = (
            (inside & keep).sum(1) / keep.sum(1).double()
            for inside, keep in ((rows, kept(len(rows), blocks)) for rows in (fake, real))
        )
        if not held_out.all():
            raise UserError(
                f"ClassShare: found {int(real.sum())} of {len(real):,} real images that {evidence.extractor} puts into "
                f"the classes {self.classes}, expected enough of them to compare with.\nType the classes that the "
                "images show, or leave it out of the metrics."
            )
        return {"class_share": generated.tolist(), "class_share_of_real": (generated / held_out).tolist()}
