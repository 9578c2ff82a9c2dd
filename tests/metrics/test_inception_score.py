"""Inception score against scores known by hand, torch-fidelity on the same logits, and its own long way."""

from __future__ import annotations

import math

import pytest
import torch
from normals import evidence_of, normal
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

from lit_gen.errors import UserError
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.inception_score import InceptionScore, inception_score, split_of


def evidence(logits: torch.Tensor) -> Evidence:
    return evidence_of(normal(50, 0), normal(len(logits), 1), fake_logits=logits)


def test_sure_of_all_classes_is_their_number_and_of_one_class_is_1() -> None:
    each = 1000 * torch.eye(7).repeat(3, 1)  # probabilities of exactly 0 and 1
    assert inception_score(each) == pytest.approx(7)
    assert inception_score(each[:1].repeat(9, 1)) == pytest.approx(1)
    assert inception_score(torch.zeros(9, 7)) == pytest.approx(1)


def test_two_images_by_hand() -> None:
    """p = (3/4, 1/4) and (1/4, 3/4): KL to (1/2, 1/2) is ln 2 - H(1/4) for both."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(logits) == pytest.approx(2 * math.exp(-entropy), rel=1e-6)


@pytest.mark.parametrize("splits", [1, 3, 10])
def test_as_torch_fidelity(splits: int) -> None:
    logits = 3 * normal(107, 0, width=12)
    expected = isc_features_to_metric(logits, splits=splits, shuffle=True, rng_seed=2020)[KEY_METRIC_ISC_MEAN]
    assert inception_score(logits, splits) == pytest.approx(expected, rel=1e-12)
    found = InceptionScore(splits)(evidence(logits))["inception_score"]
    assert found == pytest.approx(expected, rel=1e-12)


def test_replicates_are_those_of_the_long_way() -> None:
    given = evidence(3 * normal(107, 0, width=12).float())
    found = InceptionScore().replicates(given, 7)["inception_score"]
    assert found == pytest.approx(Metric.replicates(InceptionScore(), given, 7)["inception_score"], rel=1e-9)


def test_images_stay_in_their_splits_when_a_block_leaves() -> None:
    logits, splits = 3 * normal(90, 0, width=12), split_of(90, 3)
    given = evidence(logits)
    for left_out, found in enumerate(InceptionScore(3).replicates(given, 5)["inception_score"]):
        kept, numbers = given.without(left_out, 5).fake_logits, evidence_of(splits, splits).without(left_out, 5).fake
        scores = [inception_score(kept[numbers == number]) for number in range(3)]
        assert found == pytest.approx(sum(scores) / 3, rel=1e-9)


def test_few_images_in_many_splits_score_less() -> None:
    logits = 5 * normal(100, 0, width=50)
    assert inception_score(logits, 10) < 0.6 * inception_score(logits)


def test_estimate_and_mistakes() -> None:
    (found,) = InceptionScore().estimate(evidence(3 * normal(60, 0, width=12)))
    assert found.key == "inception_score_known" and found.better == "higher" and found.low >= 1
    with pytest.raises(UserError, match="known has no classifier"):
        InceptionScore()(evidence_of(normal(50, 0), normal(50, 1)))
    with pytest.raises(UserError, match="found 60 generated images, expected at least 100 for splits 10"):
        InceptionScore(splits=10).estimate(evidence(normal(60, 0)))
    with pytest.raises(UserError, match="found splits 0"):
        InceptionScore(splits=0)
