"""Adversarial losses: small callables that hold only their hyper-parameters; they take logits, never probabilities."""

from abc import ABC, abstractmethod
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lit_gen.errors import UserError


def logits_of(judged: Any) -> Tensor:
    """Real or fake, of what a discriminator returns: its logits, or the field `logits` where it says more."""
    return judged if isinstance(judged, Tensor) else judged.logits


class AdversarialLoss(ABC):
    """Base of the adversarial losses: what each of the two players minimises, as means over logits of any shape.

    What conditions both networks, labels for example, follows the logits; most losses leave it alone.

    Attributes:
        boundary: The logit above which D takes an image for real.
        remembers: Names of the attributes that training changes, which a checkpoint has to hold.
    """

    boundary = 0.0
    remembers: tuple[str, ...] = ()

    @abstractmethod
    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """What the discriminator minimises: a scalar from its logits on real and on generated images."""

    @abstractmethod
    def generator_loss(self, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """What the generator minimises: a scalar from the discriminator's logits on generated images."""

    def check(self, judged: Any) -> None:
        """Refuse a discriminator that returns what this loss does not take.

        Raises:
            UserError: `judged`, what the discriminator returned, is more than logits.
        """
        if not isinstance(judged, Tensor):
            raise UserError(
                f"{type(self).__name__}: the discriminator returns {type(judged).__name__}{_fields(judged)}, expected "
                "logits alone.\nType --model.loss AuxiliaryClassifierLoss, or "
                "--model.discriminator.auxiliary_classifier false."
            )

    def state_dict(self) -> dict[str, Any]:
        """What training has changed; most losses have nothing."""
        return {name: getattr(self, name) for name in self.remembers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from such a state; what is missing in it begins afresh."""
        vars(self).update({name: state[name] for name in self.remembers if name in state})


class MinimaxLoss(AdversarialLoss):
    """The textbook game; it saturates: min_G max_D E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)."""

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """-E log D(x) - E log(1 - D(G(z))), in nats, >= 0."""
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """E log(1 - D(G(z))), in nats, <= 0; its gradient vanishes where D is sure that the images are fake."""
        return -F.softplus(fake_logits).mean()


class NonSaturatingLoss(AdversarialLoss):
    """The non-saturating loss: D as in the textbook, G maximises E log D(G(z)) (Goodfellow et al. 2014, section 3)."""

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """-E log D(x) - E log(1 - D(G(z))), in nats, >= 0."""
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """-E log D(G(z)), in nats, >= 0."""
        return F.softplus(-fake_logits).mean()


class HingeLoss(AdversarialLoss):
    """The hinge loss (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17)."""

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), >= 0."""
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """-E D(G(z)), unbounded."""
        return -fake_logits.mean()


class LeastSquaresLoss(AdversarialLoss):
    """The least-squares loss (Mao et al. 2017, eq. 2; the defaults are eq. 9).

    Args:
        fake_target: What D aims at on generated images, the paper's a.
        real_target: What D aims at on real images, the paper's b.
        generator_target: What G wants D to say of its images, the paper's c.
    """

    def __init__(self, fake_target: float = 0.0, real_target: float = 1.0, generator_target: float = 1.0) -> None:
        self.fake_target = fake_target
        self.real_target = real_target
        self.generator_target = generator_target
        self.boundary = (real_target + fake_target) / 2

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """E (D(x) - b)^2 / 2 + E (D(G(z)) - a)^2 / 2, >= 0."""
        return ((real_logits - self.real_target).square().mean() + (fake_logits - self.fake_target).square().mean()) / 2

    def generator_loss(self, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """E (D(G(z)) - c)^2 / 2, >= 0."""
        return (fake_logits - self.generator_target).square().mean() / 2


class WassersteinLoss(AdversarialLoss):
    """The Wasserstein loss (Arjovsky et al. 2017, eq. 2 and 3).

    D must be Lipschitz: join GradientPenalty, or use spectral norm.
    """

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """E D(G(z)) - E D(x): minus the estimated distance, unbounded."""
        return fake_logits.mean() - real_logits.mean()

    def generator_loss(self, fake_logits: Tensor, *cond: Tensor) -> Tensor:
        """-E D(G(z)), unbounded."""
        return -fake_logits.mean()


def _fields(judged: Any) -> str:
    return f" ({', '.join(judged._fields)})" if hasattr(judged, "_fields") else ""
