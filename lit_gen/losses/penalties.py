"""Penalties on the discriminator: small callables that join its loss and combine freely."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import logits_of


class Penalty(ABC):
    """Base of the penalties on the discriminator, applied lazily (Karras et al. 2020, arXiv:1912.04958, appendix B).

    Args:
        every: The penalty is applied at every k-th update of the discriminator; the caller multiplies it by k.

    Raises:
        UserError: `every` is smaller than 1.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise UserError(
                f"{type(self).__name__}: found every {every}, expected 1 or more (discriminator updates).\n"
                "Type every: 1 to apply it at each update, 16 to apply it lazily."
            )
        self.every = every

    @abstractmethod
    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, *cond: Tensor) -> Tensor:
        """The penalty, not yet multiplied by `every`.

        Args:
            discriminator: D(x, *cond) -> logits.
            real: Real images, (B, C, H, W).
            fake: Generated images of the same shape; no gradient flows into the generator.
            *cond: What conditions both, labels (B,) for example.

        Returns:
            A scalar >= 0 that can be differentiated by D's parameters.
        """


class R1(Penalty):
    """R1, the squared gradient of D at real images: gamma/2 E |grad D(x)|^2 (Mescheder et al. 2018, eq. 9).

    Args:
        gamma: Weight, >= 0.
        every: The penalty is applied at every k-th update of the discriminator.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(self, gamma: float = 10.0, every: int = 16) -> None:
        super().__init__(every)
        self.gamma = _not_negative(self, "gamma", gamma)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, *cond: Tensor) -> Tensor:
        """gamma/2 times the mean over B of the squared gradient, summed over pixels; `fake` is not used."""
        return self.gamma / 2 * _squared_gradient(discriminator, real, *cond).mean()


class GradientPenalty(Penalty):
    """WGAN-GP: weight E (|grad D(x)| - 1)^2 between real and fake images (Gulrajani et al. 2017, eq. 3).

    D must not mix the images of a batch: no BatchNorm in it (section 4 there).

    Args:
        weight: The paper's lambda, >= 0.
        every: The penalty is applied at every k-th update of the discriminator.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(self, weight: float = 10.0, every: int = 1) -> None:
        super().__init__(every)
        self.weight = _not_negative(self, "weight", weight)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, *cond: Tensor) -> Tensor:
        """weight times the mean over B of (norm of the gradient - 1)^2, at a random point between real and fake."""
        mix = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype)
        between = torch.lerp(fake.detach(), real.detach(), mix)
        # The derivative of the root is infinite at 0, where D is flat.
        norm = (_squared_gradient(discriminator, between, *cond) + 1e-12).sqrt()
        return self.weight * (norm - 1).square().mean()


def _not_negative(penalty: Penalty, name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise UserError(
            f"{type(penalty).__name__}: found {name} {value}, expected 0 or more: less would reward what it is to "
            f"punish.\nType {name}: 10, say, or leave it out of the penalties."
        )
    return value


def _squared_gradient(discriminator: nn.Module, images: Tensor, *cond: Tensor) -> Tensor:
    """|grad_x D(x)|^2 of each image, (B,), differentiable by D's parameters."""
    images = images.detach().requires_grad_(True)
    logits = logits_of(discriminator(images, *cond))
    # Logits of one image depend on this image alone, so the gradient of the sum holds each image's own.
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1)
