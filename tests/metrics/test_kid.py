"""KID against sums written out by hand, and against what is known of two distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.kid import kid, polynomial_kernel


def normal(n: int, seed: int, mean: float = 0.0, width: int = 4) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def test_kernel_is_the_papers() -> None:
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0], [0.0, 0.0]])
    assert polynomial_kernel(x, y).tolist() == [[(1 / 2 + 1) ** 3, 1.0]]


def test_two_points_each_by_hand() -> None:
    """One feature: k(x, y) = (xy + 1)^3. Reals 0 and 1 give k = 1; fakes 1 and 2 give 27; across: 1, 1, 8, 27."""
    real, fake = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert kid(real, fake) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_unequal_sizes_against_a_double_loop() -> None:
    real, fake = normal(5, 0), normal(7, 1, mean=0.5)

    def k(a: Tensor, b: Tensor) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / 4 + 1) ** 3

    within = [
        sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (len(x) * (len(x) - 1))
        for x in (real, fake)
    ]
    across = sum(k(a, b) for a in real for b in fake) / (len(real) * len(fake))
    assert kid(real, fake) == pytest.approx(sum(within) - 2 * across, rel=1e-12)


def test_expectation_of_two_normals() -> None:
    """With F = 1, k = 1 + 3xy + 3(xy)^2 + (xy)^3, so MMD^2 is 3 (m1 - m1')^2 + 3 (m2 - m2')^2 + (m3 - m3')^2."""
    mean, deviation = 0.4, 1.5
    m1, m2, m3 = mean, mean**2 + deviation**2, mean**3 + 3 * mean * deviation**2
    expected = 3 * m1**2 + 3 * (m2 - 1) ** 2 + m3**2
    estimates = [kid(normal(400, s, width=1), mean + deviation * normal(400, 999 + s, width=1)) for s in range(200)]
    error = torch.tensor(estimates).std().item() / math.sqrt(len(estimates))
    assert abs(sum(estimates) / len(estimates) - expected) < 4 * error


def test_unbiased_whatever_the_number_of_images() -> None:
    """With 8 images each, the biased estimate of the same distribution would be far above 0; this one averages to 0."""
    estimates = torch.tensor([kid(normal(8, 2 * s), normal(8, 2 * s + 1)) for s in range(2000)])
    assert abs(estimates.mean()) < 4 * estimates.std() / math.sqrt(len(estimates))
    assert (estimates < 0).any()


def test_symmetric_and_blind_to_the_order() -> None:
    real, fake = normal(30, 0), normal(20, 1, mean=1.0)
    assert kid(real, fake) == pytest.approx(kid(fake, real))
    assert kid(real.flip(0), fake[torch.randperm(20)]) == pytest.approx(kid(real, fake))


def test_grows_with_the_distance_and_sees_a_collapse() -> None:
    real = normal(200, 0)
    near, far = kid(real, normal(200, 1, mean=0.2)), kid(real, normal(200, 1, mean=1.0))
    assert abs(kid(real, normal(200, 1))) < near < far
    assert kid(real, real[:1].repeat(200, 1)) > near


def test_float32_features_are_summed_in_float64() -> None:
    real, fake = 50 + normal(100, 0).float(), 50 + normal(100, 1).float()
    assert kid(real, fake) == kid(real.double(), fake.double())


@pytest.mark.parametrize(
    ("real", "fake", "says"),
    [
        (torch.zeros(1, 3), torch.zeros(2, 3), r"real has the shape \(1, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3, 1), r"fake has the shape \(2, 3, 1\)"),
        (torch.zeros(2, 3), torch.zeros(2, 4), "3 features an image and fake 4"),
        (torch.zeros(2, 3), torch.full((2, 3), math.nan), "fake has values that are not finite"),
    ],
)
def test_mistakes_are_named(real: Tensor, fake: Tensor, says: str) -> None:
    with pytest.raises(UserError, match=says):
        kid(real, fake)
