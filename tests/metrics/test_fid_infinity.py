"""FID-infinity on normal distributions, whose true distance is known, and its intervals by the long way."""

from __future__ import annotations

import pytest
import torch
from normals import evidence_of, normal

from lit_gen.errors import UserError
from lit_gen.metrics.fid import fid
from lit_gen.metrics.fid_infinity import FIDInfinity, fid_infinity, intercept, partitions, shuffled
from lit_gen.metrics.jackknife import block_of


def test_the_line_meets_0_where_it_should() -> None:
    assert intercept(torch.tensor([5.0, 7.0]).double()).item() == pytest.approx(3)
    assert intercept(torch.tensor([5.0, 7.0, 9.0, 11.0]).double()).item() == pytest.approx(3)
    assert intercept(torch.tensor([[1.0, 0.0], [2.0, 5.0], [4.0, 1.0]]).double()).tolist() == pytest.approx(
        [-2 / 3, 1.0]
    )


def test_halves_are_judged_as_wholes_are() -> None:
    real, fake = normal(40, 0), normal(50, 1, 0.5)
    a, b = shuffled(real, 0), shuffled(fake, 1)
    halves = [fid(real[a[part::2]], fake[b[part::2]]) for part in range(2)]
    assert fid_infinity(real, fake) == pytest.approx(2 * fid(real, fake) - sum(halves) / 2)


@pytest.mark.parametrize("sizes", [2, 3, 5])
def test_each_size_judges_every_image_once(sizes: int) -> None:
    found = partitions(normal(50, 0), normal(41, 1), sizes)
    assert [len(pairs) for pairs in found] == list(range(1, sizes + 1))
    for pairs in found:
        for kind, n in ((0, 50), (1, 41)):
            rows = [pair[kind] for pair in pairs]
            assert torch.cat(rows).sort().values.tolist() == list(range(n))
            assert max(map(len, rows)) - min(map(len, rows)) <= 1


@pytest.mark.parametrize(("n", "m", "width"), [(400, 400, 16), (100, 100, 64), (100, 400, 64)])
def test_nearer_the_truth_than_fid(n: int, m: int, width: int) -> None:
    """N(0, 1) against N(0.2, 1.2^2) in each of F directions: 0.04 F + 0.04 F."""
    truth, plain, extrapolated = 0.08 * width, [], []
    for seed in range(5):
        real, fake = normal(n, 2 * seed, width=width), 0.2 + 1.2 * normal(m, 2 * seed + 1, width=width)
        plain.append(abs(fid(real, fake) - truth))
        extrapolated.append(abs(fid_infinity(real, fake) - truth))
    assert sum(extrapolated) < 0.6 * sum(plain)


def test_order_does_not_count() -> None:
    real, fake = normal(60, 0), normal(50, 1, 0.4)
    assert fid_infinity(real.flip(0), fake[torch.randperm(50)]) == pytest.approx(fid_infinity(real, fake), rel=1e-9)


def test_replicates_leave_blocks_out_of_the_same_halves() -> None:
    real, fake = normal(60, 0), normal(50, 1, 0.5)
    found = FIDInfinity().replicates(evidence_of(real, fake), 5)["fid_infinity"]
    a, b = shuffled(real, 0), shuffled(fake, 1)
    for left_out in range(5):
        kept = [(rows[block_of(n, 5)[rows] != left_out]) for rows, n in ((a, 60), (b, 50))]
        assert len(kept[0]) == 48
        whole = fid(real[kept[0]], fake[kept[1]])
        halves = []
        for part in range(2):
            rows, others = a[part::2], b[part::2]
            rows, others = rows[block_of(60, 5)[rows] != left_out], others[block_of(50, 5)[others] != left_out]
            halves.append(fid(real[rows], fake[others]))
        assert found[left_out] == pytest.approx(2 * whole - sum(halves) / 2)


def test_estimate_holds_the_truth() -> None:
    (found,) = FIDInfinity().estimate(evidence_of(normal(400, 0, width=8), normal(400, 1, 0.5, 8)))
    assert found.name == "fid_infinity" and found.low < 8 * 0.25 < found.high


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="expected at least 2 for a line"):
        FIDInfinity(sizes=1)
    with pytest.raises(UserError, match="FIDInfinity: found 15 real images, expected at least 16"):
        FIDInfinity().estimate(evidence_of(normal(15, 0), normal(50, 1)))
