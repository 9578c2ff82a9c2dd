"""Path length against maps whose length is known, and the latents at both ends of its steps."""

from __future__ import annotations

import math

import pytest
import torch
from feature_sets import draw, evidence

from lit_gen.errors import UserError
from lit_gen.metrics.base import Metric
from lit_gen.metrics.path_length import PathLength, latent_steps, path_lengths


def test_a_linear_map_of_the_arc() -> None:
    """Features are the latents themselves: the step turns them by step times the angle between the two latents.

    In 500 dimensions two latents are at a right angle, nearly, and about equally long: (pi / 2)^2 for a generator that
    turns as its latents do, and nine times that for one that turns three times as fast.
    """
    steps = torch.stack(latent_steps(400, 500, seed=0, step=1e-3), 1)
    assert path_lengths(steps, 1e-3) == [pytest.approx((math.pi / 2) ** 2, rel=0.02)]
    angle = torch.stack([torch.zeros(100), torch.full((100,), 3e-3 * math.pi / 2)], 1)
    turned = torch.stack([angle.cos(), angle.sin()], 2)
    assert path_lengths(turned, 1e-3) == [pytest.approx(9 * (math.pi / 2) ** 2, rel=1e-4)]


def test_leaves_out_one_hundredth_at_either_end() -> None:
    """Of 101 pairs, the ones that stay and the one that turns right round are left out."""
    angles = torch.tensor([0.0] + [0.1] * 99 + [math.pi]).double()
    path = torch.stack([torch.eye(2).double()[:1].repeat(101, 1), torch.stack([angles.cos(), angles.sin()], 1)], 1)
    assert path_lengths(path, 0.5) == [pytest.approx((2 - 2 * math.cos(0.1)) / 0.25)]
    assert path_lengths(path[torch.randperm(101)], 0.5) == path_lengths(path, 0.5)


def test_replicates_leave_pairs_out() -> None:
    path = torch.stack([draw(150, 0), draw(150, 1)], 1)
    metric, seen = PathLength(), evidence(draw(30, 2), draw(30, 3), path=path, path_step=0.1)
    found, expected = metric.replicates(seen, 20), Metric.replicates(metric, seen, 20)
    assert found["path_length"] == pytest.approx(expected["path_length"], rel=1e-12)
    (estimate,) = metric.estimate(seen)
    assert estimate.n_fake == 150
    assert 0 < estimate.low < estimate.value < estimate.high


def test_latents_lie_on_the_arc_and_come_from_the_seed() -> None:
    a, b = latent_steps(50, 64, seed=3, step=1e-4)
    again, other = latent_steps(50, 64, seed=3, step=1e-4), latent_steps(50, 64, seed=4, step=1e-4)
    assert a.dtype == torch.float32
    assert torch.equal(a, again[0])
    assert torch.equal(b, again[1])
    assert not torch.equal(a, other[0])
    # As long as normal latents are: a straight line between them would pass nearer to 0.
    assert a.square().mean().item() == pytest.approx(1.0, abs=0.1)
    assert (a - b).norm(dim=1).mean().item() == pytest.approx(1e-4 * math.pi / 2 * 8, rel=0.1)
    line, onward = latent_steps(50, 1, seed=0)
    assert line.isfinite().all()
    assert onward.isfinite().all()


def test_constant_images_and_mistakes() -> None:
    seen = evidence(draw(9, 0), draw(9, 1), path=torch.ones(9, 2, 8))
    assert PathLength().estimate(seen)[0].value == 0.0
    with pytest.raises(UserError, match="PathLength: found no path"):
        PathLength().estimate(evidence(draw(9, 0), draw(9, 1)))
    with pytest.raises(UserError, match="found 3 generated images"):
        PathLength().estimate(evidence(draw(9, 0), draw(9, 1), path=torch.ones(3, 2, 8)))
