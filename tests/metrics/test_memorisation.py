"""Memorisation: calibrated whatever the sizes of the sets, and it tells replays from fresh images."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from feature_sets import draw, evidence
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.memorisation import (
    Memorisation,
    chance_error,
    closest_pairs,
    copied_probability,
    flagged,
    memorisation,
    rare_distance,
)


def fresh(seed: int, n_train: int = 100, n_real: int = 40, n_fake: int = 100) -> Evidence:
    """All three sets from one distribution."""
    sizes = n_real, n_fake, n_train
    real, fake, train = (draw(n, 3 * seed + part, mean=0.5) for part, n in enumerate(sizes))
    return evidence(real, fake, train=train)


@pytest.mark.parametrize(("n_train", "n_real"), [(7, 4), (4, 7), (5, 5)])
def test_copied_probability_against_all_subsets(n_train: int, n_real: int) -> None:
    """Distances are whole numbers, so that there are ties."""
    random = torch.Generator().manual_seed(0)
    to_train, to_real = (torch.randint(0, 9, (30, n), generator=random).double() for n in (n_train, n_real))
    size = min(n_train, n_real)

    def one(row: int) -> float:
        found = []
        for some_train in itertools.combinations(to_train[row].tolist(), size):
            for some_real in itertools.combinations(to_real[row].tolist(), size):
                found.append((min(some_train) < min(some_real)) + 0.5 * (min(some_train) == min(some_real)))
        return sum(found) / len(found)

    assert copied_probability(to_train, to_real).tolist() == pytest.approx([one(row) for row in range(30)], abs=1e-9)


@pytest.mark.parametrize(("n_train", "n_real"), [(100, 40), (40, 100), (60, 60)])
def test_fresh_images_give_a_half_and_a_hundredth(n_train: int, n_real: int) -> None:
    found = [
        memorisation(each.real, each.fake, each.train) for each in map(fresh, range(60), [n_train] * 60, [n_real] * 60)
    ]
    for name, expected in (("copy_share", 0.5), ("near_copies", 0.01)):
        values = torch.tensor([each[name][0] for each in found], dtype=torch.float64)
        assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(len(values)), name
        assert 0 < values.std() < 0.2


@pytest.mark.parametrize(("n", "below"), [(10, 0.03), (50, 0.02), (99, 0.015), (150, 0.015)])
def test_rare_distance_is_as_rare_as_it_says(n: int, below: float) -> None:
    """Of uniform values, what lies below t is t: its mean over many draws is 0.01, and near it with few images."""
    draws = torch.rand(2000, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert 0.008 < sum(rare_distance(row) for row in draws) / 2000 < below


def test_rare_distance_of_copies_is_0() -> None:
    assert rare_distance(torch.zeros(10)) == 0
    assert rare_distance(torch.zeros(200)) == 0
    assert rare_distance(torch.tensor([0.0, 1.0, 2.0, 3.0])) == 0


def test_replays_are_flagged_and_fresh_images_are_not() -> None:
    metric = Memorisation()
    for seed in range(20):
        seen = fresh(seed)
        assert flagged(metric.estimate(seen)) == []
    replayed = evidence(seen.real, seen.train + 0.01 * draw(100, 99), train=seen.train)
    estimates = metric.estimate(replayed)
    assert estimates[1].value == 1.0
    assert estimates[0].value > 0.65
    reasons = flagged(estimates)
    assert any("100% of the generated images are nearly copies of a training image" in reason for reason in reasons)
    alike = fresh(0, 60, 60)
    share, _ = metric.estimate(evidence(alike.real, alike.train, train=alike.train))
    assert share.value == 1.0
    assert "nearer to a training image than to any held-out one" in flagged([share])[0]


def test_a_collapse_is_no_copy_unless_it_is_one() -> None:
    """One picture over and over is nearer to either set by chance, whatever the jackknife says of it."""
    metric = Memorisation()
    fresh_ones = [fresh(seed, 60, 60) for seed in range(20)]
    once = [evidence(each.real, each.fake[:1].repeat(100, 1), train=each.train) for each in fresh_ones]
    assert [flagged(metric.estimate(each)) for each in once] == [[]] * 20
    assert chance_error(once[0].real, once[0].fake, once[0].train) == pytest.approx(0.5)
    three = evidence(once[0].real, once[0].train[:3].repeat(40, 1), train=once[0].train)
    assert flagged(metric.estimate(three))


def test_replicates() -> None:
    """Of copy_share those of leaving a block of every set out; for near_copies the training images stay."""
    metric, seen = Memorisation(), fresh(1, 50, 40, 70)
    seen = evidence(seen.real, torch.cat([seen.fake, seen.train[:9]]), train=seen.train)
    found, expected = metric.replicates(seen, 20), Metric.replicates(metric, seen, 20)
    assert found["copy_share"] == pytest.approx(expected["copy_share"], abs=1e-9)
    without = [seen.without(block, 20) for block in range(20)]
    expected = [memorisation(each.real, each.fake, seen.train)["near_copies"][0] for each in without]
    assert found["near_copies"] == pytest.approx(expected)
    assert len(set(expected)) > 1


def test_closest_pairs_are_the_copies_each_training_image_once() -> None:
    seen = fresh(2)
    fake = torch.cat([seen.fake[:20], seen.train[[5, 5, 8]], seen.real[:1]])
    found = closest_pairs(evidence(seen.real, fake, train=seen.train), 3)
    assert found.fake_rows[:2].tolist() == [20, 22]
    assert found.train_rows[:2].tolist() == [5, 8]
    assert found.fake_rows[2] < 20
    assert found.distances[:2, 0].tolist() == [0, 0]
    one, other = (rows.double() / rows.double().norm() for rows in (fake[22], seen.real[found.real_rows[1]]))
    assert found.distances[1, 1].item() == pytest.approx((one - other).norm().item())
    assert len(closest_pairs(seen, 1000).fake_rows) == len(set(closest_pairs(seen, 1000).train_rows.tolist()))


@pytest.mark.parametrize("row", [torch.ones(1, 8), torch.zeros(1, 8)])
def test_constant_images_say_nothing(row: Tensor) -> None:
    share, near = Memorisation().estimate(evidence(row.repeat(20, 1), row.repeat(30, 1), train=row.repeat(40, 1)))
    assert (share.value, share.low, share.high) == (pytest.approx(0.5), 0.0, 1.0)
    assert (near.value, near.low, near.high) == (0.0, 0.0, 0.0)


def test_held_out_copies_of_training_images_do_not_stop_it() -> None:
    seen = fresh(3)
    copied = evidence(torch.cat([seen.train[:5], seen.real]), torch.cat([seen.train, seen.fake]), train=seen.train)
    assert all(0 <= each.low <= each.value <= each.high <= 1 for each in Memorisation().estimate(copied))


def test_mistakes_are_named() -> None:
    seen = fresh(0)
    with pytest.raises(UserError, match="Memorisation: found no train, expected train"):
        Memorisation().estimate(evidence(seen.real, seen.fake))
    with pytest.raises(UserError, match="found 9 training images, expected at least 10"):
        Memorisation().estimate(evidence(seen.real, seen.fake, train=seen.train[:9]))
    assert len(Memorisation().estimate(fresh(0, 10, 10, 10))) == 2
