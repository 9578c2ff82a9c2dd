"""Precision, recall, density and coverage against torch-fidelity, against sets drawn by hand, and in what they mean."""

from __future__ import annotations

import math

import pytest
import torch
from feature_sets import draw, evidence
from torch_fidelity.metric_prc import prc_features_to_metric

from lit_gen.errors import UserError
from lit_gen.metrics import distances
from lit_gen.metrics import precision_recall as module
from lit_gen.metrics.base import Metric
from lit_gen.metrics.precision_recall import PrecisionRecall, precision_recall


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_agrees_with_torch_fidelity(neighbours: int) -> None:
    """There the generated images come first."""
    real, fake = draw(300, 0, 20), 0.9 * draw(250, 1, 20, mean=0.2)
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=neighbours, verbose=False)
    ours = precision_recall(real, fake, neighbours)
    assert 0.1 < theirs["recall"] < theirs["precision"] < 1
    assert ours["precision"][0] == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours["recall"][0] == pytest.approx(theirs["recall"], rel=1e-6)


def test_balls_on_a_line_by_hand() -> None:
    """With k = 1 the balls of the reals 0, 1, 3 reach 1, 1, 2 far; those of the fakes 2, 2.5, 9 reach 0.5, 0.5, 6.5."""
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0], [2.5], [9.0]])
    found = precision_recall(real, fake, 1, 1)
    assert found["precision"] == [2 / 3]  # 2 lies on the rim of 1 and in 3's ball, 2.5 in 3's
    assert found["recall"] == [1 / 3]  # 3 lies on the rim of 2.5 and in 9's ball
    assert found["density"] == [3 / 3]
    assert found["coverage"] == [2 / 3]


@pytest.mark.parametrize(("n_real", "n_fake"), [(60, 43), (9, 8), (7, 30)])
def test_replicates_are_those_of_leaving_images_out(n_real: int, n_fake: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of a few rows, and with so few neighbours remembered that a block takes too many of them."""
    metric, seen = PrecisionRecall(), evidence(draw(n_real, 0, 3), draw(n_fake, 1, 3))
    blocks = min(20, n_real, n_fake)
    expected = Metric.replicates(metric, seen, blocks)
    monkeypatch.setattr(distances, "ENTRIES", 7 * n_real)
    monkeypatch.setattr(distances, "ROWS", 5)
    monkeypatch.setattr(module, "SPARE", 1)
    found = metric.replicates(seen, blocks)
    assert found == {name: pytest.approx(values, abs=1e-12) for name, values in expected.items()}
    assert len(found["recall"]) == blocks


def test_what_they_say_of_generators() -> None:
    real, other = draw(200, 0, 2), draw(200, 1, 2)
    same = precision_recall(real, other)
    assert all(value > 0.85 for (value,) in same.values())
    assert all(value == 1 for name, (value,) in precision_recall(real, real).items() if name != "density")
    collapsed = precision_recall(real, real[:1] + 0.01 * draw(200, 2, 2))
    assert collapsed["precision"] == [1.0]
    assert collapsed["recall"][0] < 0.05
    assert collapsed["coverage"][0] < 0.1
    assert precision_recall(real, other + 100) == dict.fromkeys(same, [0.0])


def test_order_changes_nothing() -> None:
    """Even where generated images are copies of real ones, and lie on the rims of their neighbours' balls."""
    real, order = draw(150, 0), torch.randperm(150, generator=torch.Generator().manual_seed(0))
    fake = torch.cat([real[:60], draw(90, 1)])
    assert precision_recall(real[order], fake[order.flip(0)]) == precision_recall(real, fake)
    assert precision_recall(real, real)["density"] == [
        6 / 5
    ]  # each ball holds its centre and five on or inside the rim


def test_far_from_the_origin_and_constant() -> None:
    real, fake = draw(60, 0).double(), draw(50, 1).double()
    assert precision_recall(real + 1e4, fake + 1e4) == precision_recall(real, fake)
    constant = torch.full((20, 8), 0.1)
    assert precision_recall(constant, constant)["recall"] == [1.0]
    assert all(math.isfinite(value) for (value,) in precision_recall(real, constant).values())


def test_estimates_end_where_the_numbers_do() -> None:
    real = draw(100, 0)
    found = {each.name: each for each in PrecisionRecall().estimate(evidence(real, 0.5 * draw(100, 1)))}
    assert found["density"].value > 1
    assert found["density"].high > found["density"].value
    assert all(0 <= found[name].low <= found[name].high <= 1 for name in ("precision", "recall", "coverage"))


@pytest.mark.parametrize(
    ("real", "fake", "says"),
    [
        (draw(6, 0), draw(20, 1), "found 6 real images, expected at least 7"),
        (draw(20, 0), draw(6, 1), "found 6 generated images, expected at least 7"),
        (draw(20, 0), torch.full((20, 8), math.nan), "not finite"),
    ],
)
def test_mistakes_are_named(real: torch.Tensor, fake: torch.Tensor, says: str) -> None:
    with pytest.raises(UserError, match=says):
        PrecisionRecall().estimate(evidence(real, fake))
    assert len(PrecisionRecall().estimate(evidence(draw(7, 0), draw(7, 1)))) == 4
    with pytest.raises(UserError, match="density_neighbours 0"):
        PrecisionRecall(density_neighbours=0)
