"""Top-k training: G learns from those of its images alone that D takes most for real."""

import math
from typing import Any

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import AdversarialLoss, logits_of
from lit_gen.losses.around import AroundLoss
from lit_gen.ranks import Ranks


class TopKLoss(AroundLoss):
    """G's loss over the k fakes of a batch with the highest logits (Sinha et al. 2020, arXiv:2002.06224, algorithm 1).

    k falls from the whole batch, which each process has of its own, to a share of it: by the same factor for each image
    seen, `least ** (images / anneal_images)`. Images are counted where D learns; the count lies in the checkpoint. An
    image of which D says several numbers is ranked by their mean. D's loss is left alone.

    Args:
        adversarial: The loss that is taken over the k images; the non-saturating one by default.
        least: Share of the batch that k falls to, above 0 to 1.
        anneal_images: Images seen until k has fallen so far, over all processes.

    Raises:
        UserError: `least` or `anneal_images` is outside these ranges.
    """

    remembers = ("images",)

    def __init__(
        self, adversarial: AdversarialLoss | None = None, least: float = 0.5, anneal_images: int = 50_000
    ) -> None:
        super().__init__(adversarial)
        if not 0 < least <= 1:
            raise UserError(f"TopKLoss: found least {least}, expected above 0 to 1 (of a batch).\nType least: 0.5.")
        if anneal_images < 1:
            raise UserError(
                f"TopKLoss: found anneal_images {anneal_images}, expected 1 or more.\nType anneal_images: 50_000."
            )
        self.least = least
        self.anneal_images = anneal_images
        self.images = 0

    @property
    def share(self) -> float:
        """Of a batch's fakes, those that G learns from at present."""
        return self.least ** min(1.0, self.images / self.anneal_images)

    def discriminator_loss(self, real_logits: Any, fake_logits: Any, *cond: Tensor) -> Tensor:
        """The adversarial loss alone; counts images."""
        if torch.is_grad_enabled():  # not in validation
            self.images += len(logits_of(fake_logits)) * Ranks.here().world_size
        return self.adversarial.discriminator_loss(real_logits, fake_logits, *cond)

    def generator_loss(self, fake_logits: Any, *cond: Tensor) -> Tensor:
        """The adversarial loss over the k images that D takes most for real."""
        logits = logits_of(fake_logits).detach()
        scores = logits.reshape(len(logits), -1).mean(1)
        rows = scores.topk(math.ceil(self.share * len(scores))).indices
        return self.adversarial.generator_loss(_chosen(fake_logits, rows), *(values[rows] for values in cond))


def _chosen(judged: Any, rows: Tensor) -> Any:
    """What a discriminator says of some images of a batch: its logits, or a tuple with names, each field of all."""
    return judged[rows] if isinstance(judged, Tensor) else type(judged)(*(field[rows] for field in judged))
