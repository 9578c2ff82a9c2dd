"""KID against sums written out by hand, what is known of two distributions, and torch-fidelity on the same features."""

from __future__ import annotations

import math

import pytest
import torch
from normals import evidence_of, normal
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from lit_gen.errors import UserError
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.kid import KID, kid, polynomial_kernel


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
    estimates = [kid(normal(400, s, width=1), mean + deviation * normal(400, 999 + s, width=1)) for s in range(100)]
    error = torch.tensor(estimates).std().item() / math.sqrt(len(estimates))
    assert abs(sum(estimates) / len(estimates) - expected) < 4 * error


def test_unbiased_whatever_the_number_of_images() -> None:
    """With 8 images each, the biased estimate of the same distribution would be far above 0; this one averages to 0."""
    estimates = torch.tensor([kid(normal(8, 2 * s), normal(8, 2 * s + 1)) for s in range(1000)])
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


def pair(width: int = 32) -> Evidence:
    return evidence_of(normal(120, 0, width=width), normal(90, 1, 0.3, width))


def test_subsets_are_torch_fidelitys() -> None:
    given = pair()
    options = {"kid_subsets": 7, "kid_subset_size": 50, "verbose": False}
    expected = kid_features_to_metric(given.real, given.fake, **options)[KEY_METRIC_KID_MEAN]
    assert KID(subsets=7, subset_size=50)(given)["kid"] == pytest.approx(expected, rel=1e-10)


def test_all_pairs_are_one_subset_of_everything() -> None:
    given = evidence_of(normal(90, 0), normal(90, 1, 0.3))
    options = {"kid_subsets": 1, "kid_subset_size": 90, "verbose": False}
    expected = kid_features_to_metric(given.real, given.fake, **options)[KEY_METRIC_KID_MEAN]
    assert KID()(given)["kid"] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rows", [7, 1024])
def test_parts_of_any_size_give_the_same(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = pair()
    expected = (polynomial_kernel(given.real, given.fake).mean(), KID().replicates(given, 4)["kid"])
    monkeypatch.setattr("lit_gen.metrics.kid.AT_A_TIME", rows)
    k, n, m = polynomial_kernel, 120, 90
    within = sum((k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1)) for x in (given.real, given.fake))
    assert (n, m) == (len(given.real), len(given.fake))
    assert kid(given.real, given.fake) == pytest.approx((within - 2 * expected[0]).item(), rel=1e-10)
    assert KID().replicates(given, 4)["kid"] == pytest.approx(expected[1], rel=1e-10)


def test_replicates_are_those_of_the_long_way() -> None:
    given = pair()
    assert KID().replicates(given, 7)["kid"] == pytest.approx(Metric.replicates(KID(), given, 7)["kid"], rel=1e-9)


def test_a_block_leaves_the_subsets_as_they_were_drawn() -> None:
    """One subset of all images is all pairs, in another order."""
    given = evidence_of(normal(90, 0), normal(90, 1, 0.3))
    found = KID(subsets=1, subset_size=90).replicates(given, 7)["kid"]
    assert found == pytest.approx(KID().replicates(given, 7)["kid"], rel=1e-9)


def test_estimate_of_float32_features() -> None:
    given = pair()
    (found,) = KID().estimate(evidence_of(given.real.float(), given.fake.float()))
    assert found.key == "kid_known" and found.low < found.value < found.high and len(found.replicates) == 20
    assert found.value == pytest.approx(kid(given.real, given.fake), rel=1e-5)


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(UserError, match="found 120 real and 90 generated images, expected at least subset_size 1000"):
        KID(subsets=5).estimate(pair())
    with pytest.raises(UserError, match="found subsets 0"):
        KID(subsets=0)
    with pytest.raises(UserError, match="found subset_size 9"):
        KID(subset_size=9)


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
