"""Diversity, over all generated images and within clusters, against loops over pairs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from feature_sets import draw, evidence
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics import distances
from lit_gen.metrics.base import Metric
from lit_gen.metrics.cluster_diversity import ClusterDiversity, cluster_distances
from lit_gen.metrics.diversity import Diversity, mean_distances

AXES = torch.eye(4)


def pairs(rows: Tensor) -> float:
    """Mean squared distance of two rows at length 1, by a loop."""
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    found = [(a - b).square().sum().item() for a, b in itertools.combinations(unit, 2)]
    return sum(found) / len(found)


def test_closed_forms() -> None:
    """Directions at right angles are sqrt 2 apart, opposite ones 2; how long a vector is says nothing."""
    assert mean_distances(AXES) == [pytest.approx(2.0)]
    assert mean_distances(torch.tensor([[1.0, 0.0], [-5.0, 0.0]])) == [pytest.approx(4.0)]
    assert mean_distances(torch.full((50, 8), 0.3)) == [pytest.approx(0.0, abs=1e-14)]
    assert mean_distances(torch.zeros(50, 8)) == [0.0]
    assert min(mean_distances(draw(1, seed).repeat(50, 1))[0] for seed in range(50)) == 0  # and never below


def test_diversity_against_a_loop_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = draw(23, 0, mean=0.5)
    assert mean_distances(fake)[0] == pytest.approx(pairs(fake), rel=1e-12)
    monkeypatch.setattr(distances, "ROWS", 5)
    assert mean_distances(fake)[0] == pytest.approx(pairs(fake), rel=1e-12)
    assert mean_distances(fake.flip(0))[0] == pytest.approx(pairs(fake), rel=1e-12)


@pytest.mark.parametrize("metric", [Diversity(), ClusterDiversity()])
def test_replicates_are_those_of_leaving_images_out(metric: Metric) -> None:
    seen = evidence(draw(30, 0), draw(47, 1), train=draw(12, 2))
    (found,), (expected,) = metric.replicates(seen, 20).values(), Metric.replicates(metric, seen, 20).values()
    assert found == pytest.approx(expected, rel=1e-9)
    (estimate,) = metric.estimate(seen)
    assert 0 <= estimate.low < estimate.value < estimate.high


def test_collapse_lowers_it() -> None:
    fresh, collapsed = draw(100, 0), 10 + 0.1 * draw(100, 1)
    assert mean_distances(collapsed)[0] < 0.01 < mean_distances(fresh)[0]


def test_clusters_by_hand() -> None:
    """Images near the first axis, near the second, and one alone near the third, which is left out."""
    fake = torch.tensor(
        [[1, 0.1, 0, 0], [1, -0.1, 0, 0], [0, 1, 0.3, 0], [0, 1, 0, 0.3], [0.1, 1, 0, 0], [0, 0, 1, 0.1]]
    )
    expected = (pairs(fake[:2]) + pairs(fake[2:5])) / 2
    assert cluster_distances(fake, 7 * AXES[:3]) == [pytest.approx(expected, rel=1e-9)]
    assert cluster_distances(fake.flip(0), 7 * AXES[[2, 0, 1]]) == [pytest.approx(expected, rel=1e-9)]


def test_replays_are_many_pictures_but_one_a_cluster() -> None:
    train = draw(20, 0)
    replays, fresh = train.repeat(10, 1), draw(200, 1)
    assert mean_distances(replays)[0] > 0.9 * mean_distances(fresh)[0]
    assert cluster_distances(replays, train)[0] < 1e-6 < 0.1 < cluster_distances(fresh, train)[0]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="no two of 4 generated images"):
        cluster_distances(AXES, AXES)
    with pytest.raises(UserError, match="ClusterDiversity: found no train"):
        ClusterDiversity().estimate(evidence(AXES, AXES))
    with pytest.raises(UserError, match="found 1 training images"):
        ClusterDiversity().estimate(evidence(AXES, AXES, train=AXES[:1]))
    with pytest.raises(UserError, match="found 3 generated images"):
        Diversity().estimate(evidence(AXES, AXES[:3]))
    with pytest.raises(UserError, match="not finite"):
        mean_distances(AXES * math.inf)
    assert cluster_distances(torch.ones(9, 4), torch.ones(9, 4)) == [pytest.approx(0.0, abs=1e-14)]
