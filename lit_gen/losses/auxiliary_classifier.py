"""The auxiliary classifier: the discriminator also tells the class, and both players want it to be right."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import AdversarialLoss
from lit_gen.losses.around import AroundLoss


class AuxiliaryClassifierLoss(AroundLoss):
    """An adversarial loss plus weight * the cross-entropy of the classes (AC-GAN: Odena et al. 2017, eq. 1 to 3).

    The discriminator returns `logits` (B,) and `class_logits` (B, K); it has auxiliary_classifier: true.

    Args:
        adversarial: The loss on `logits`; the non-saturating one by default.
        weight: Of the cross-entropy, >= 0.
        classify_fakes: Whether D also learns the classes from generated images, as in the paper; left out, its
            classifier follows real images alone, so that early fakes cannot confuse it.

    Raises:
        UserError: `weight` is negative.
    """

    def __init__(
        self, adversarial: AdversarialLoss | None = None, weight: float = 1.0, classify_fakes: bool = False
    ) -> None:
        if weight < 0:
            raise UserError(f"AuxiliaryClassifierLoss: found weight {weight}, expected 0 or more.\nType weight: 1.0.")
        super().__init__(adversarial)
        self.weight = weight
        self.classify_fakes = classify_fakes

    def discriminator_loss(self, real_logits: Any, fake_logits: Any, *cond: Tensor) -> Tensor:
        """The adversarial loss + weight * -E log p(y|x), in nats: reals, plus fakes where wanted."""
        (labels,) = cond
        loss = self.adversarial.discriminator_loss(real_logits.logits, fake_logits.logits)
        judged = [real_logits, fake_logits] if self.classify_fakes else [real_logits]
        return loss + self.weight * sum(F.cross_entropy(one.class_logits, labels) for one in judged)

    def generator_loss(self, fake_logits: Any, *cond: Tensor) -> Tensor:
        """The adversarial loss + weight * -E log p(y|G(z, y)), in nats."""
        (labels,) = cond
        classes = F.cross_entropy(fake_logits.class_logits, labels)
        return self.adversarial.generator_loss(fake_logits.logits) + self.weight * classes

    def check(self, judged: Any) -> None:
        """Refuse a discriminator without a classifier.

        Raises:
            UserError: `judged`, what the discriminator returned, has no `class_logits`.
        """
        if not hasattr(judged, "class_logits"):
            raise UserError(
                "AuxiliaryClassifierLoss: the discriminator returns logits alone, expected class_logits beside them.\n"
                "Type --model.discriminator.auxiliary_classifier true (ProjectionDCGANDiscriminator, "
                "ProjectionResNetDiscriminator), or another --model.loss."
            )
