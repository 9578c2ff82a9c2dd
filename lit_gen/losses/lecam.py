"""LeCam regularisation: on few images D's logits are held near where the other kind of image has been so far."""

from typing import Any

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import AdversarialLoss, logits_of
from lit_gen.losses.around import AroundLoss
from lit_gen.ranks import Ranks


class LeCamLoss(AroundLoss):
    """D's loss + weight * (E (D(x) - a_F)^2 + E (D(G(z)) - a_R)^2) (Tseng et al. 2021, arXiv:2104.03310, section 3.2).

    a_R and a_F are moving averages of D's logits on real and on generated images, over all patches, and one of each
    for each head (logits (B, heads) or (B, heads, h, w)). They begin with the first batch's means, move with each of
    D's batches in training, this one included, and stay where they are in validation. They are the same in all
    processes and lie in the checkpoint. G's loss is left alone.

    Args:
        adversarial: The loss that this is added to; the non-saturating one by default.
        weight: Of the squared distances, >= 0; that of logits of a few units, as those of HingeLoss.
        decay: What of the averages stays at each batch, 0 to below 1.

    Raises:
        UserError: `weight` or `decay` is outside these ranges.
    """

    remembers = ("averages",)

    def __init__(self, adversarial: AdversarialLoss | None = None, weight: float = 0.3, decay: float = 0.99) -> None:
        super().__init__(adversarial)
        if weight < 0:
            raise UserError(f"LeCamLoss: found weight {weight}, expected 0 or more.\nType weight: 0.3.")
        if not 0 <= decay < 1:
            raise UserError(f"LeCamLoss: found decay {decay}, expected 0 to below 1.\nType decay: 0.99.")
        self.weight = weight
        self.decay = decay
        self.averages: Tensor | None = None  # a_R and a_F, (2, heads)

    def discriminator_loss(self, real_logits: Any, fake_logits: Any, *cond: Tensor) -> Tensor:
        """The adversarial loss + weight * (E (D(x) - a_F)^2 + E (D(G(z)) - a_R)^2)."""
        loss = self.adversarial.discriminator_loss(real_logits, fake_logits, *cond)
        real, fake = by_head(logits_of(real_logits)), by_head(logits_of(fake_logits))
        if torch.is_grad_enabled():  # not in validation
            self.follow(real, fake)
        if self.averages is None:  # validation before the first batch
            return loss
        average_real, average_fake = self.averages.to(real.device).unsqueeze(-1)
        return loss + self.weight * ((real - average_fake).square().mean() + (fake - average_real).square().mean())

    def generator_loss(self, fake_logits: Any, *cond: Tensor) -> Tensor:
        """The adversarial loss alone."""
        return self.adversarial.generator_loss(fake_logits, *cond)

    def follow(self, real: Tensor, fake: Tensor) -> None:
        """Moves the averages towards the means of a batch, over all processes."""
        means = torch.stack([logits.detach().float().mean((0, 2)) for logits in (real, fake)])
        means = Ranks.here().gather(means).mean(0)
        self.averages = means if self.averages is None else self.averages.to(means.device).lerp(means, 1 - self.decay)


def by_head(logits: Tensor) -> Tensor:
    """(B, heads, patches) from logits (B,), (B, heads) or (B, heads, h, w)."""
    return logits.reshape(len(logits), logits.shape[1] if logits.dim() > 1 else 1, -1)
