"""Class share by hand, its intervals the long way, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from normals import evidence_of
from tiny_extractor import TinyExtractor

from lit_gen.errors import UserError
from lit_gen.metrics.assessment import every_metric
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.class_share import ClassShare
from lit_gen.metrics.evidence import with_logits


def evidence(fake: list[int], real: list[int], n_classes: int = 1000) -> Evidence:
    """Images that the classifier puts into these classes."""
    logits = [torch.eye(n_classes)[rows] for rows in (fake, real)]
    return evidence_of(
        torch.zeros(len(real), 2), torch.zeros(len(fake), 2), fake_logits=logits[0], real_logits=logits[1]
    )


def test_by_hand() -> None:
    found = ClassShare()(evidence([281, 285, 280, 286, 0, 283, 7, 7], [282, 282, 282, 284, 281, 12, 999, 0]))
    assert found == {"class_share": 3 / 8, "class_share_of_real": (3 / 8) / (5 / 8)}
    found = ClassShare([0])(evidence([0, 0, 0, 1], [0, 1, 1, 1]))
    assert found == {"class_share": 0.75, "class_share_of_real": 3.0}
    same = [281, 3, 285, 4]
    assert ClassShare()(evidence(same, same))["class_share_of_real"] == 1


def test_logits_are_those_of_the_extractor() -> None:
    extractor, random = TinyExtractor(), torch.Generator().manual_seed(0)
    fake, real = (extractor(torch.rand(n, 3, 8, 8, generator=random) * 2 - 1) for n in (40, 30))
    # Random weights see all images as one class: what tells them apart is stretched.
    fake, real = ((features - fake.mean(0)) * 100 for features in (fake, real))
    expected = [extractor.head(rows).argmax(1).eq(2).double().mean().item() for rows in (fake, real)]
    assert all(0 < share < 1 for share in expected)
    seen = with_logits(Evidence("tiny", real, fake), {"fake_logits", "real_logits"}, extractor)
    found = ClassShare([2])(seen)
    assert found["class_share"] == pytest.approx(expected[0])
    assert found["class_share_of_real"] == pytest.approx(expected[0] / expected[1])
    only = with_logits(Evidence("tiny", real, fake), {"fake_logits"}, extractor)
    assert only.real_logits is None and torch.equal(only.fake_logits, seen.fake_logits)


def test_intervals() -> None:
    random = torch.Generator().manual_seed(0)
    fake, real = (torch.randint(278, 288, (n,), generator=random).tolist() for n in (300, 90))
    given, metric = evidence(fake, real), ClassShare()
    assert metric.replicates(given, 20) == Metric.replicates(metric, given, 20)
    share, ratio = metric.estimate(given)
    assert share.key == "class_share_known" and share.better == ratio.better == "higher"
    assert 0 < share.low < share.value < share.high < 1 < ratio.high
    half = 1.96 * math.sqrt(share.value * (1 - share.value) / 300)  # of a binomial share
    assert share.high - share.value == pytest.approx(half, rel=0.4)


def test_only_who_asks_has_it() -> None:
    kinds = {type(metric).__name__ for metric in every_metric()}
    assert "ClassShare" not in kinds and {"KID", "InceptionScore"} < kinds


def test_mistakes() -> None:
    for classes in ([], [1000], [3, -1]):
        with pytest.raises(UserError, match=r"ClassShare: found classes \[.*expected .* from 0 to 999"):
            ClassShare(classes)
    with pytest.raises(UserError, match="ClassShare: known has no classifier, expected one"):
        ClassShare().estimate(evidence_of(torch.zeros(9, 2), torch.zeros(9, 2)))
    with pytest.raises(UserError, match="found 0 of 4 real images that known puts into the classes"):
        ClassShare().estimate(evidence([281] * 5, [1, 2, 3, 4]))
    with pytest.raises(UserError, match="found 1 of 40 real images"):  # without its block there is no ratio
        ClassShare().estimate(evidence([281] * 5, [281] + [1] * 39))
    for n_classes in (10, 1008):
        with pytest.raises(UserError, match=f"found the {n_classes} classes of known, expected"):
            ClassShare().estimate(evidence([0] * 5, [0] * 5, n_classes))
