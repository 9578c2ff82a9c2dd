"""How many generated images show what they ought to, by a classifier that knows ImageNet?"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric

CATS = [281, 282, 283, 284, 285]  # tabby, tiger cat, Persian, Siamese, Egyptian cat
CLASSES = 1000


class ClassShare(Metric):
    """The share of generated images that the extractor's classifier puts into some of ImageNet's classes.

    Beside it the same as a ratio to the share of the real images: a classifier that was made for 224 pixels does not
    know every real image of 32 either. It may exceed 1.

    Args:
        classes: Numbers of ImageNet's classes, 0 to 999; those of the cats by default.

    Raises:
        UserError: There are none, or numbers outside this range.
    """

    better: ClassVar[dict[str, Better]] = {"class_share": "higher", "class_share_of_real": "higher"}
    needs = ("fake_logits", "real_logits")
    by_default = False  # what generated images ought to show, only their maker knows

    def __init__(self, classes: list[int] | None = None) -> None:
        classes = CATS if classes is None else classes
        if not classes or not all(0 <= number < CLASSES for number in classes):
            raise UserError(
                f"ClassShare: found classes {classes}, expected some numbers of 0 to {CLASSES - 1}.\nType classes: "
                f"{CATS} for the cats, say."
            )
        self.classes = classes

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        """Both shares.

        Raises:
            UserError: No real image is in these classes.
        """
        real, fake = (self._share(logits) for logits in (evidence.real_logits, evidence.fake_logits))
        if not real:
            raise UserError(
                f"ClassShare: the classifier puts none of {len(evidence.real_logits)} real images into the classes "
                f"{self.classes}, so that there is nothing to compare with.\nType classes: that the images show."
            )
        return {"class_share": fake, "class_share_of_real": fake / real}

    def bounds(self, name: str) -> tuple[float, float]:
        return (0.0, 1.0) if name == "class_share" else (0.0, float("inf"))

    def _share(self, logits: Tensor) -> float:
        return torch.isin(logits.argmax(1), torch.tensor(self.classes)).double().mean().item()
