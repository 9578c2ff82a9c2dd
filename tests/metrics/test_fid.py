"""FID against closed forms, torch-fidelity on the same features, and its own long way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from normals import evidence_of, normal, turned
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from lit_gen.errors import UserError
from lit_gen.metrics.base import Metric
from lit_gen.metrics.fid import FID, Moments, fid, frechet_distance, moments, normal_through
from lit_gen.metrics.rows import AT_A_TIME


def theirs(real: Tensor, fake: Tensor) -> float:
    found = (fid_features_to_statistics(features) for features in (real, fake))
    return fid_statistics_to_metric(*found, verbose=False)[KEY_METRIC_FID]


def long_way(evidence, blocks: int) -> list[float]:
    return Metric.replicates(FID(), evidence, blocks)["fid"]


def test_of_two_normals_along_the_axes() -> None:
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2."""
    mean, s, t = torch.tensor([1.0, -2.0, 0.0]).double(), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 0.5])
    a = Moments(9, torch.zeros(3).double(), torch.diag(s.double() ** 2))
    b = Moments(9, mean, torch.diag(t.double() ** 2))
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 6.25, rel=1e-12)


def test_of_two_normals_that_share_no_direction() -> None:
    """Rank one, by hand: S = u u^T and S' = v v^T give |u|^2 + |v|^2 - 2 |u.v|, which no Cholesky root can say."""
    u, v = torch.tensor([3.0, 0.0]).double(), torch.tensor([1.0, 2.0]).double()
    a, b = (Moments(9, torch.zeros(2).double(), torch.outer(x, x)) for x in (u, v))
    assert frechet_distance(a, b) == pytest.approx(9 + 5 - 2 * 3, rel=1e-7)


@pytest.mark.parametrize(("n", "m", "width"), [(200, 150, 64), (300, 1500, 256)])
def test_as_torch_fidelity(n: int, m: int, width: int) -> None:
    real, fake = turned(normal(n, 0, width=width)), turned(1.2 * normal(m, 1, 0.1, width), seed=1)
    assert fid(real, fake) == pytest.approx(theirs(real, fake), rel=1e-6)
    real, fake = (
        real.float(),
        fake.float(),
    )  # as extractors give them; torch-fidelity sums the means of these in float32
    assert fid(real, fake) == pytest.approx(theirs(real, fake), rel=1e-5)
    assert fid(real, fake) == pytest.approx(theirs(real.double(), fake.double()), rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (10, 200), (200, 10), (40, 40), (41, 41)])
def test_fewer_images_than_features_are_exact_too(n: int, m: int) -> None:
    """Against all of numpy's eigenvalues of S S', which for so few directions are precise enough."""
    real, fake = turned(normal(n, 0, width=40)), turned(normal(m, 1, 0.5, 40), seed=1)
    assert fid(real, fake) == pytest.approx(theirs(real, fake), rel=1e-6)
    assert fid(real, fake) == pytest.approx(frechet_distance(moments(real), moments(fake)), rel=1e-6)


def test_moments_are_those_of_numpy_whatever_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    features = 1000 + normal(100, 0)  # far from 0: squares would cancel all but six digits
    for rows in (7, AT_A_TIME):
        monkeypatch.setattr("lit_gen.metrics.rows.AT_A_TIME", rows)
        found = moments(features)
        assert found.n == 100
        assert np.allclose(found.mean, features.numpy().mean(0), rtol=1e-14)
        assert np.allclose(found.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-10, atol=1e-12)
        some = torch.arange(0, 100, 3)
        assert np.allclose(moments(features, some).covariance, torch.cov(features[some].T), rtol=1e-10, atol=1e-12)


def test_moments_without_a_part_are_those_of_the_rest() -> None:
    features = 10 + normal(50, 0)
    for part in (0, 1, 20, 49):
        found, expected = moments(features).without(moments(features[:part])), moments(features[part:])
        assert found.n == expected.n
        assert torch.allclose(found.mean, expected.mean, rtol=1e-13)
        assert torch.allclose(found.covariance, expected.covariance, rtol=1e-10, atol=1e-11)


def test_few_rows_have_a_root_of_full_rank() -> None:
    rows = normal(6, 0, 3.0, width=10)
    found = normal_through(rows)
    assert found.root.shape == (5, 10)
    assert torch.allclose(found.root.T @ found.root, torch.cov(rows.T), atol=1e-13)
    assert torch.linalg.matrix_rank(found.root) == 5


@pytest.mark.parametrize(("n", "m", "width"), [(90, 70, 8), (30, 20, 64), (15, 90, 40), (90, 15, 40)])
def test_replicates_are_those_of_the_long_way(n: int, m: int, width: int) -> None:
    evidence = evidence_of(turned(normal(n, 0, width=width)), turned(normal(m, 1, 0.3, width), seed=1))
    assert FID().replicates(evidence, 7)["fid"] == pytest.approx(long_way(evidence, 7), rel=1e-9)


def test_estimate_has_what_it_takes_to_read_it() -> None:
    (found,) = FID().estimate(evidence_of(normal(50, 0).float(), normal(40, 1, 1.0).float()))
    assert (found.key, found.n_real, found.n_fake, found.better, len(found.replicates)) == (
        *("fid_known", 50, 40, "lower", 20),
    )
    assert 0 <= found.low < found.value < found.high


def test_the_same_set_has_no_distance_and_order_does_not_count() -> None:
    real, fake = turned(normal(60, 0, width=16)), turned(normal(50, 1, 0.4, 16), seed=1)
    assert fid(real, real.flip(0)) == pytest.approx(0, abs=1e-9)
    assert fid(real, fake) == pytest.approx(fid(fake, real), rel=1e-9)
    assert fid(real[torch.randperm(60)], fake.flip(0)) == pytest.approx(fid(real, fake), rel=1e-9)


@pytest.mark.parametrize("n", [6, 30])
def test_images_that_are_all_the_same_give_a_number(n: int) -> None:
    """One point against another, and against a normal: |m - m'|^2, and its trace besides."""
    same, other = torch.full((n, 8), 0.1), torch.full((n, 8), 1.1)
    assert fid(same, same) == 0
    assert fid(same, other) == pytest.approx(8, rel=1e-6)
    spread = normal(n, 0, width=8)
    expected = (spread.mean(0) - same[0].double()).square().sum() + torch.cov(spread.T).trace()
    assert fid(same, spread) == pytest.approx(expected.item())
    (found,) = FID().estimate(evidence_of(same, other))
    assert math.isfinite(found.low) and math.isfinite(found.high)


def test_a_feature_that_never_fires_changes_nothing() -> None:
    real, fake = normal(60, 0, width=16), normal(60, 1, 0.4, 16)
    dead = torch.zeros(60, 5)
    assert fid(torch.cat([dead, real], 1), torch.cat([dead, fake], 1)) == pytest.approx(fid(real, fake), rel=1e-9)


def test_a_memory_map_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    features = normal(100, 0).numpy()
    np.save(tmp_path / "features.npy", features)
    mapped = torch.from_numpy(np.load(tmp_path / "features.npy", mmap_mode="r+"))
    FID().estimate(evidence_of(mapped, mapped))
    assert (mapped.numpy() == features).all()


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="FID: fake has values that are not finite"):
        fid(torch.zeros(4, 2), torch.full((4, 2), math.inf))
    with pytest.raises(UserError, match="FID: found 3 generated images, expected at least 4"):
        FID().estimate(evidence_of(torch.zeros(4, 2), torch.zeros(3, 2)))
