"""Closed forms of the losses and penalties; the classes are found by walking the subclasses of their bases."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import (
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    MinimaxLoss,
    NonSaturatingLoss,
    WassersteinLoss,
)
from lit_gen.losses.penalties import R1, GradientPenalty, Penalty


def subclasses(base: type) -> list[type]:
    """All classes of lit_gen below `base`, however deep (other tests may define their own)."""
    found = [c for direct in base.__subclasses__() for c in [direct, *subclasses(direct)]]
    return [c for c in found if c.__module__.startswith("lit_gen.")]


# Those of logits alone; a loss that wants more of the discriminator has tests of its own.
LOSSES = [c for c in subclasses(AdversarialLoss) if c.__module__ == AdversarialLoss.__module__]
PENALTIES = subclasses(Penalty)
REAL = torch.tensor([0.5, -2.0, 3.0])
FAKE = torch.tensor([-0.5, 1.5, -4.0])


class Linear(nn.Module):
    """D(x) = w.x, whose gradient is w everywhere."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).flatten(1).sum(1)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.arange(12.0).reshape(3, 2, 2) / 10


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1), (4, 1, 3, 3)])
def test_losses_are_scalars_whatever_the_shape(loss, shape):
    real, fake = torch.randn(shape, requires_grad=True), torch.randn(shape, requires_grad=True)
    for value in (loss().discriminator_loss(real, fake), loss().generator_loss(fake)):
        assert value.shape == ()
        assert value.isfinite()
        value.backward()
    assert fake.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_means(loss):
    once = loss().discriminator_loss(REAL, FAKE), loss().generator_loss(FAKE)
    twice = loss().discriminator_loss(REAL.repeat(2), FAKE.repeat(3)), loss().generator_loss(FAKE.repeat(2))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_stable_for_confident_logits(loss):
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    (loss().discriminator_loss(logits, logits) + loss().generator_loss(logits)).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_players_pull_apart(loss):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss().discriminator_loss(real, fake).backward()
    assert (real.grad < 0).all()  # a step down the loss raises D's logits on real images
    assert (fake.grad >= 0).all()
    logits = torch.zeros(4, requires_grad=True)
    loss().generator_loss(logits).backward()
    assert (logits.grad < 0).all()  # G wants D's logits on its images to rise


@pytest.mark.parametrize("item", [*LOSSES, *PENALTIES])
def test_only_plain_hyper_parameters_are_held(item):
    assert not issubclass(item, nn.Module)
    assert all(isinstance(value, int | float | str | bool) for value in vars(item()).values())


def test_minimax_is_binary_cross_entropy():
    ones, zeros = torch.ones(3), torch.zeros(3)
    bce = F.binary_cross_entropy_with_logits
    loss = MinimaxLoss()
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), bce(REAL, ones) + bce(FAKE, zeros))
    torch.testing.assert_close(loss.generator_loss(FAKE), -bce(FAKE, zeros))
    torch.testing.assert_close(NonSaturatingLoss().discriminator_loss(REAL, FAKE), bce(REAL, ones) + bce(FAKE, zeros))
    torch.testing.assert_close(NonSaturatingLoss().generator_loss(FAKE), bce(FAKE, ones))


def test_minimax_is_zero_sum_in_the_fakes():
    only_fake = MinimaxLoss().discriminator_loss(torch.tensor(1e4), FAKE)
    torch.testing.assert_close(MinimaxLoss().generator_loss(FAKE), -only_fake)


def test_minimax_at_the_equilibrium_is_log_four():
    undecided = torch.zeros(5)
    assert MinimaxLoss().discriminator_loss(undecided, undecided).item() == pytest.approx(math.log(4))


def test_the_optimal_discriminator_is_the_log_density_ratio():
    p_real, p_fake = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    logits = (p_real / p_fake).log().requires_grad_(True)  # Goodfellow et al. 2014, eq. 2
    loss = MinimaxLoss()
    value = sum(p * loss.discriminator_loss(x, torch.tensor(-1e4)) for p, x in zip(p_real, logits, strict=True))
    value = value + sum(p * loss.discriminator_loss(torch.tensor(1e4), x) for p, x in zip(p_fake, logits, strict=True))
    value.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3), atol=1e-6, rtol=0)


def test_the_minimax_generator_saturates_and_the_other_does_not():
    for loss, expected in ((MinimaxLoss(), 0.0), (NonSaturatingLoss(), -1.0)):
        logits = torch.tensor(-30.0, requires_grad=True)
        loss.generator_loss(logits).backward()
        assert logits.grad.item() == pytest.approx(expected, abs=1e-6)


def test_hinge_by_hand():
    # real: max(0, 0.5), max(0, 3), max(0, -2); fake: max(0, 0.5), max(0, 2.5), max(0, -3)
    assert HingeLoss().discriminator_loss(REAL, FAKE).item() == pytest.approx((0.5 + 3 + 0) / 3 + (0.5 + 2.5 + 0) / 3)
    assert HingeLoss().generator_loss(FAKE).item() == pytest.approx(1.0)


def test_hinge_leaves_what_is_beyond_the_margin():
    real, fake = torch.tensor([1.5], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
    HingeLoss().discriminator_loss(real, fake).backward()
    assert real.grad.item() == 0
    assert fake.grad.item() == 0


def test_least_squares_by_hand():
    loss = LeastSquaresLoss()
    assert loss.discriminator_loss(torch.ones(3), torch.zeros(3)).item() == 0
    assert loss.discriminator_loss(torch.tensor([3.0]), torch.tensor([1.0])).item() == pytest.approx(4 / 2 + 1 / 2)
    assert loss.generator_loss(torch.tensor([3.0])).item() == pytest.approx(2)
    other = LeastSquaresLoss(fake_target=-1, real_target=1, generator_target=0)  # eq. 8
    assert other.discriminator_loss(torch.tensor([1.0]), torch.tensor([-1.0])).item() == 0
    assert other.generator_loss(torch.tensor([0.0])).item() == 0


def test_wasserstein_by_hand():
    assert WassersteinLoss().discriminator_loss(REAL, FAKE).item() == pytest.approx(-1.0 - 0.5)
    assert WassersteinLoss().generator_loss(FAKE).item() == pytest.approx(1.0)


def test_r1_of_a_linear_discriminator(weight):
    penalty = R1(gamma=3.0)(Linear(weight), torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2))
    torch.testing.assert_close(penalty, 3.0 / 2 * weight.square().sum())


def test_r1_differentiates_by_the_weights(weight):
    discriminator = Linear(weight)
    R1(gamma=3.0)(discriminator, torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2)).backward()
    torch.testing.assert_close(discriminator.weight.grad, 3.0 * weight)


def test_gradient_penalty_of_a_linear_discriminator(weight):
    real, fake = torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2)
    norm = weight.square().sum().sqrt()
    torch.testing.assert_close(GradientPenalty(weight=10)(Linear(weight), real, fake), 10 * (norm - 1) ** 2)
    assert GradientPenalty()(Linear(weight / norm), real, fake).item() == pytest.approx(0, abs=1e-6)


def test_gradient_penalty_looks_between_real_and_fake():
    seen = []

    def discriminator(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    GradientPenalty()(discriminator, torch.ones(500, 1, 2, 2), -torch.ones(500, 1, 2, 2))
    (between,) = seen
    assert between.min() >= -1
    assert between.max() <= 1
    assert between.std() == pytest.approx(1 / 3**0.5, rel=0.1)  # uniform on [-1, 1]
    assert torch.equal(between, between[:, :, :1, :1].expand_as(between))  # one point per image


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_leave_the_generator_alone_and_pass_the_condition_on(penalty, weight):
    seen = []
    discriminator = Linear(weight)

    def conditional(x, labels):
        seen.append(labels)
        return discriminator(x).square()

    fake, labels = torch.randn(5, 3, 2, 2, requires_grad=True), torch.arange(5)
    value = penalty()(conditional, torch.randn(5, 3, 2, 2), fake, labels)
    assert value.shape == ()
    value.backward()
    assert fake.grad is None
    assert discriminator.weight.grad.abs().sum() > 0
    assert seen[0] is labels


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_are_finite_where_the_discriminator_is_flat(penalty):
    discriminator = Linear(torch.zeros(1, 2, 2))
    penalty()(discriminator, torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)).backward()
    assert discriminator.weight.grad.isfinite().all()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_say_how_often_they_apply(penalty):
    assert penalty(every=4).every == 4
    with pytest.raises(UserError, match=f"{penalty.__name__}: found every 0, expected 1 or more"):
        penalty(every=0)


@pytest.mark.parametrize("make", [lambda: R1(gamma=-0.5), lambda: GradientPenalty(weight=float("inf"))])
def test_a_penalty_that_rewards_is_refused(make):
    with pytest.raises(UserError, match="expected 0 or more"):
        make()
