"""Closed forms of the likelihoods and of the bounds of log p(x); the classes are found by walking their base."""

import math

import pytest
import torch
from torch import distributions

from lit_gen.errors import UserError
from lit_gen.losses.elbo import importance_weighted_bound, kl_to_standard_normal, log_normal, with_free_bits
from lit_gen.losses.likelihoods import LEVELS, STEP, Bernoulli, DiscretisedLogistic, Gaussian, Likelihood

LIKELIHOODS = Likelihood.__subclasses__()
GREYS = torch.linspace(-1, 1, LEVELS)


def grey_levels(raw: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Every level as an image of one pixel, and the same raw output for each."""
    return GREYS.view(-1, 1, 1, 1), torch.full((LEVELS, 1, 1, 1), raw)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (2, 3, 5, 5)])
def test_one_number_for_each_image_and_images_in_range(likelihood, shape):
    torch.manual_seed(0)
    chosen, raw = likelihood(), 3 * torch.randn(shape)
    raw.requires_grad_()
    x = chosen.observe(torch.rand(shape) * 2 - 1)
    log_prob = chosen.log_prob(x, raw)
    assert x.shape == shape
    assert log_prob.shape == shape[:1]
    log_prob.sum().backward()
    assert raw.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in chosen.parameters())
    mean = chosen.mean(raw)
    assert mean.shape == shape
    assert mean.abs().max() <= 1
    alone = chosen.log_prob(x[:1], raw[:1])  # images of a batch are independent
    torch.testing.assert_close(alone, log_prob[:1])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_are_those_of_the_function(likelihood):
    torch.manual_seed(0)
    chosen = likelihood().double()
    x = chosen.observe(torch.tensor([-1.0, -0.5, 0.2, 1.0], dtype=torch.float64).view(1, 1, 2, 2))
    raw = torch.randn(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda raw: chosen.log_prob(x, raw), raw)


def test_bernoulli_is_that_of_torch():
    torch.manual_seed(0)
    chosen, raw = Bernoulli(), torch.randn(3, 1, 2, 2) * 4
    x = chosen.observe(torch.rand(3, 1, 2, 2) * 2 - 1)
    expected = distributions.Bernoulli(logits=raw).log_prob((x + 1) / 2).flatten(1).sum(1)
    torch.testing.assert_close(chosen.log_prob(x, raw), expected)
    torch.testing.assert_close(chosen.mean(raw), 2 * raw.sigmoid() - 1)


def test_bernoulli_sees_black_and_white():
    images = torch.tensor([-1.0, 0.0, 0.1, 0.5, 1.0])
    assert Bernoulli().observe(images).tolist() == [-1, -1, 1, 1, 1]
    assert Bernoulli(threshold=0.3).observe(images).tolist() == [-1, -1, -1, 1, 1]
    assert images.tolist() == [-1, 0, pytest.approx(0.1), 0.5, 1]
    for threshold in (-1.5, 1.0, math.nan):
        with pytest.raises(UserError, match="expected -1 to below 1"):
            Bernoulli(threshold)


def test_gaussian_is_that_of_torch_with_one_sigma_for_each_channel():
    torch.manual_seed(0)
    chosen, x, raw = Gaussian(channels=3), torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    chosen.learned.data = torch.tensor([-2.0, -1.0, 0.5]).view(3, 1, 1)
    sigma = chosen.learned.exp() + STEP / 2
    expected = distributions.Normal(raw, sigma).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(chosen.log_prob(x, raw), expected)


def test_gaussian_learns_the_spread_that_it_sees():
    torch.manual_seed(0)
    chosen, raw = Gaussian(), torch.zeros(1, 1, 100, 100)
    x = 0.3 * torch.randn(1, 1, 100, 100)
    optimizer = torch.optim.LBFGS(chosen.parameters(), line_search_fn="strong_wolfe", max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -chosen.log_prob(x, raw).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert chosen.learned.exp().item() + STEP / 2 == pytest.approx(x.square().mean().sqrt().item(), rel=1e-3)


def test_a_density_has_bits_by_the_width_of_a_grey_level():
    """Where sigma spans many levels, the mass of a level is its density times its width."""
    chosen, (x, raw) = Gaussian(), grey_levels(0.1)
    inside = x.flatten().abs() < 0.9
    edges = torch.cat([x.flatten() - STEP / 2, x.flatten()[-1:] + STEP / 2])
    mass = distributions.Normal(0.1, math.exp(-1.0) + STEP / 2).cdf(edges).diff()
    bits = chosen.bits_per_dimension(chosen.log_prob(x, raw), 1)
    torch.testing.assert_close(bits[inside], -mass[inside].log2(), rtol=1e-3, atol=1e-3)


def test_bits_of_probabilities():
    for chosen in (Bernoulli(), DiscretisedLogistic()):
        assert chosen.bits_per_dimension(torch.tensor(-12 * math.log(2)), 4).item() == pytest.approx(3)


@pytest.mark.parametrize("raw", [-3.0, -1.0, -0.013, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("log_scale", [-6.0, -2.0, 1.0])
def test_discretised_logistic_sums_to_one_over_its_levels(raw, log_scale):
    chosen = DiscretisedLogistic(log_scale=log_scale).double()
    x, raw = (values.double() for values in grey_levels(raw))
    assert chosen.log_prob(x, raw).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_discretised_logistic_is_the_mass_between_the_halves():
    chosen, (x, raw) = DiscretisedLogistic(log_scale=-2.0), grey_levels(0.3)
    x, raw = x.double(), raw.double()
    scale = math.exp(-2.0)
    cdf = lambda value: ((value - 0.3) / scale).sigmoid()  # noqa: E731
    expected = cdf(x + STEP / 2) - cdf(x - STEP / 2)
    expected[0], expected[-1] = cdf(x[0] + STEP / 2), 1 - cdf(x[-1] - STEP / 2)
    torch.testing.assert_close(chosen.double().log_prob(x, raw).exp(), expected.flatten())


def test_discretised_logistic_is_finite_far_out():
    chosen = DiscretisedLogistic(log_scale=-7.0)
    raw = torch.tensor([50.0, -50.0]).view(2, 1, 1, 1).requires_grad_()
    log_prob = chosen.log_prob(torch.zeros(2, 1, 1, 1), raw)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert (raw.grad.flatten().sign() == torch.tensor([-1, 1])).all()


@pytest.mark.parametrize("likelihood", [Gaussian, DiscretisedLogistic])
def test_parameters_for_grey_or_rgb(likelihood):
    assert likelihood(channels=3).learned.shape == (3, 1, 1)
    with pytest.raises(UserError, match="found channels 2, expected 1 .* or 3"):
        likelihood(channels=2)


def test_kl_is_that_of_torch():
    torch.manual_seed(0)
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    posterior = distributions.Normal(mu, (0.5 * logvar).exp())
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_standard_normal(mu, logvar), expected)
    assert kl_to_standard_normal(torch.zeros(1, 2), torch.zeros(1, 2)).tolist() == [[0, 0]]


def test_free_bits_are_of_the_batch_mean_of_each_dimension():
    kl = torch.tensor([[0.0, 4.0, 1.0], [0.2, 2.0, 3.0]])  # means 0.1, 3, 2
    assert with_free_bits(kl, 0.0).item() == pytest.approx(5.1)
    assert with_free_bits(kl, 0.5).item() == pytest.approx(5.5)
    assert with_free_bits(kl, 2.5).item() == pytest.approx(2.5 + 3 + 2.5)
    kl.requires_grad_()
    with_free_bits(kl, 2.5).backward()
    assert kl.grad.tolist() == [[0, 0.5, 0], [0, 0.5, 0]]  # what is free has no gradient


def test_log_normal_is_that_of_torch():
    torch.manual_seed(0)
    z, mu, logvar = torch.randn(4, 5, 3), torch.randn(5, 3), torch.randn(5, 3)
    expected = distributions.Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(log_normal(z, mu, logvar), expected)
    torch.testing.assert_close(log_normal(z), distributions.Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_importance_weighted_bound_is_the_log_of_the_mean_weight():
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(importance_weighted_bound(weights.log()), torch.tensor([2.0, 3.0]).log())
    far = importance_weighted_bound(torch.full((500, 2), -1e4))
    torch.testing.assert_close(far, torch.full((2,), -1e4))
