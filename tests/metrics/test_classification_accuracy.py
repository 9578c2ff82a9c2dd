"""Classification accuracy score: what a classifier learns from generated images, tested on real ones."""

from __future__ import annotations

import math

import pytest
import torch
from feature_sets import draw, evidence
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.classification_accuracy import ClassificationAccuracy, transferred_accuracy


def labelled(n: int, seed: int, apart: float, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Normal features around a centre for each class, the centres `apart` from each other."""
    labels = torch.arange(n) % classes
    return draw(n, seed) + apart / math.sqrt(2) * torch.eye(8)[labels], labels


def judged(fake: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor]) -> Evidence:
    return evidence(real[0], fake[0], real_labels=real[1], fake_labels=fake[1])


@pytest.mark.parametrize("apart", [0.0, 2.0, 8.0])
def test_two_normals_reach_what_bayes_does(apart: float) -> None:
    """The best that is possible is Phi(apart / 2); of 4,000 images the standard error is below 0.008."""
    found = transferred_accuracy(*labelled(2000, 0, apart), *labelled(4000, 1, apart))
    best = (1 + math.erf(apart / 2 / math.sqrt(2))) / 2
    assert best - 0.03 < found < best + 0.025


def test_what_it_says_of_generators() -> None:
    metric, real = ClassificationAccuracy(), labelled(300, 0, 6.0, classes=3)
    good, names = labelled(200, 1, 6.0, classes=3)
    value = metric(judged((good, names), real))["classification_accuracy"]
    assert value > 0.97
    assert metric(judged((good, (names + 1) % 3), real))["classification_accuracy"] < 0.03
    assert metric(judged((good[torch.randperm(200)], names), real))["classification_accuracy"] < 0.75
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert metric(judged((good[order], names[order]), real))["classification_accuracy"] == value
    # Whatever unit a feature is in.
    scales = torch.logspace(-6, 6, 8)
    assert metric(judged((good * scales, names), (real[0] * scales, real[1])))["classification_accuracy"] == value


def test_replicates_learn_anew() -> None:
    metric, seen = ClassificationAccuracy(), judged(labelled(60, 0, 1.5), labelled(60, 1, 1.5))
    assert metric.replicates(seen, 20) == Metric.replicates(metric, seen, 20)
    (estimate,) = metric.estimate(seen)
    assert 0 < estimate.low < estimate.value < estimate.high <= 1


def test_a_rare_class_may_be_gone_from_a_replicate() -> None:
    features, labels = labelled(20, 0, 8.0)
    labels = (torch.arange(20) == 0).long()
    found = ClassificationAccuracy().estimate(judged((features, labels), labelled(20, 1, 8.0)))
    assert math.isfinite(found[0].low)


def test_constant_images() -> None:
    """Of a class each, they say nothing of the other."""
    labels = torch.arange(20) % 2
    constant = torch.full((20, 8), 0.1)
    assert transferred_accuracy(constant, labels, constant, labels) == 0.5


@pytest.mark.parametrize(
    ("fake_labels", "real_labels", "says"),
    [
        ([0, 0, 0, 0], [0, 1, 0, 2], r"no generated image of the classes \[1, 2\], expected some of all 3"),
        ([0, 1, 0, 1], [1, 1, 1, 1], "real images of 1 class"),
        (None, [0, 1, 0, 1], "found no fake_labels, expected fake_labels, real_labels"),
    ],
)
def test_mistakes_are_named(fake_labels: list[int] | None, real_labels: list[int], says: str) -> None:
    fake = None if fake_labels is None else torch.tensor(fake_labels)
    with pytest.raises(UserError, match=says):
        ClassificationAccuracy().estimate(judged((draw(4, 0), fake), (draw(4, 1), torch.tensor(real_labels))))
