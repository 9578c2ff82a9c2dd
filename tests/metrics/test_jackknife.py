"""The delete-a-block jackknife: against the spread that is known, and how often its intervals hold the truth."""

from __future__ import annotations

import pytest
import torch
from normals import evidence_of, normal

from lit_gen.metrics.base import Metric
from lit_gen.metrics.fid import FID
from lit_gen.metrics.jackknife import all_and_without, block_of, interval, standard_error
from lit_gen.metrics.kid import KID

SHIFT = 0.5  # of the mean of each of two features; the deviations are all 1


def test_blocks_are_equal_and_the_same_every_time() -> None:
    assert block_of(107, 20).bincount().unique().tolist() == [5, 6]
    assert torch.equal(block_of(107, 20), block_of(107, 20))


def test_a_single_block_never_leaves() -> None:
    assert all_and_without(1).tolist() == [[1]]
    assert all_and_without(3).tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_of_a_mean_it_is_the_known_one() -> None:
    """Blocks of one: exactly s / sqrt(n), and Student's interval."""
    x = normal(20, 0)[:, 0]
    replicates = [x[block_of(20, 20) != block].mean().item() for block in range(20)]
    expected = x.std().item() / 20**0.5
    assert standard_error(replicates) == pytest.approx(expected)
    low, high = interval(x.mean().item(), replicates)
    assert (high - low) / 2 == pytest.approx(2.093 * expected, rel=1e-4)


@pytest.mark.parametrize(
    ("metric", "truth"),
    [
        (KID(), None),
        (KID(subsets=5, subset_size=100), None),
        (FID(), 2 * SHIFT**2),  # with 2 features its bias, 2 F / N and less, is far inside the interval
    ],
)
def test_intervals_hold_the_truth(metric: Metric, truth: float | None) -> None:
    """95 % of them, to be sure of 85 % in 60 draws."""
    truth = kid_of_two_normals() if truth is None else truth
    held = 0
    for seed in range(60):
        real, fake = normal(300, 2 * seed, width=2), normal(300, 2 * seed + 1, SHIFT, 2)
        (found,) = metric.estimate(evidence_of(real, fake))
        held += found.low <= truth <= found.high
    assert held >= 51


def kid_of_two_normals() -> float:
    """MMD^2 of N(0, 1) and N(SHIFT, 1) in two features, from the moments of (x.y / 2 + 1)^3, one of each set."""

    def mean_kernel(a: float, b: float) -> float:
        """E of (t / 2 + 1)^3 for t = x.y with means (a, a) and (b, b): 1 + 3/2 E t + 3/4 E t^2 + 1/8 E t^3."""
        one, two, three = a * b, (1 + a * a) * (1 + b * b), (a**3 + 3 * a) * (b**3 + 3 * b)  # of a single x_i y_i
        return 1 + 1.5 * 2 * one + 0.75 * (2 * two + 2 * one**2) + 0.125 * (2 * three + 6 * two * one)

    return mean_kernel(0, 0) + mean_kernel(SHIFT, SHIFT) - 2 * mean_kernel(0, SHIFT)
