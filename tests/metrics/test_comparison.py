"""Differences by closed forms: of independent numbers, of paired ones, and inside the noise."""

from __future__ import annotations

import dataclasses
import math

import pytest
from reports import estimate, measured, report
from scipy import stats

from lit_gen.errors import UserError
from lit_gen.metrics.comparison import difference, paired, rank


def test_paired_replicates_are_subtracted_one_by_one() -> None:
    """What both have in common cancels: only the difference's own spread is left."""
    common = [0.0, 5.0, -5.0, 2.0]
    a = measured(1.0, [1.0 + c + d for c, d in zip(common, (0.1, -0.1, 0.1, -0.1), strict=True)])
    b = measured(3.0, [3.0 + c for c in common])
    found = difference(a, b, paired=True)
    half = stats.t.ppf(0.975, 3) * math.sqrt(3 / 4 * 4 * 0.1**2)
    assert found.value == -2.0
    assert (found.low, found.high) == pytest.approx((-2 - half, -2 + half))
    assert found.verdict == "better" and found.paired
    assert difference(b, a, paired=True).verdict == "worse"
    assert difference(a, b, paired=False).verdict == "inside the noise"


def test_independent_standard_errors_add_in_squares() -> None:
    a, b = measured(1.0, [1.3, 0.7] * 2), measured(3.0, [3.4, 2.6] * 2)
    found = difference(a, b, paired=False)
    errors = [math.sqrt(3 / 4 * 4 * spread**2) for spread in (0.3, 0.4)]
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 3) * math.hypot(*errors))
    assert not found.paired


def test_without_replicates_the_interval_has_to_do() -> None:
    """Of one that ends where the number's values do, the longer side."""
    a = dataclasses.replace(estimate(0.9, "recall", "higher"), low=0.6, high=1.0, replicates=())
    b = dataclasses.replace(estimate(0.1, "recall", "higher"), low=0.0, high=0.5, replicates=())
    found = difference(a, b, paired=True)
    assert (found.low, found.high) == pytest.approx((0.8 - 0.5, 0.8 + 0.5))
    assert found.verdict == "better" and not found.paired


def test_luck_that_the_replicates_do_not_know_adds_in_squares() -> None:
    """All replicates alike make no interval, but the metric may know of one: [0, 0.3] around 0, say."""
    none = measured(0.0, [0.0] * 4)
    lucky = dataclasses.replace(none, high=0.3)
    common = measured(1.0, [1.1, 0.9] * 2)
    wider = dataclasses.replace(common, low=0.0, high=2.0)
    assert difference(lucky, none, paired=True).high == pytest.approx(0.3)
    assert difference(lucky, lucky, paired=False).high == pytest.approx(math.hypot(0.3, 0.3))
    own = stats.t.ppf(0.975, 3) * math.sqrt(3 / 4 * 4 * 0.1**2)
    assert difference(wider, common, paired=True).high == pytest.approx(math.sqrt(1 - own**2))
    assert difference(wider, none, paired=False).high == pytest.approx(1 + 1.0)


@pytest.mark.parametrize(("better", "verdict"), [("lower", "worse"), ("higher", "better")])
def test_the_verdict_knows_which_way_is_better(better: str, verdict: str) -> None:
    high, low = estimate(9.0, better=better), estimate(1.0, better=better)
    assert difference(high, low, paired=False).verdict == verdict


def test_the_same_number_is_inside_the_noise() -> None:
    found = difference(estimate(1.0), estimate(1.0), paired=True)
    assert (found.value, found.low, found.high, found.verdict) == (0, 0, 0, "inside the noise")


def test_what_is_not_finite_is_not_known() -> None:
    lost = dataclasses.replace(estimate(1.0), value=math.nan, replicates=())
    assert difference(lost, estimate(1.0), paired=False).verdict == "not known"


def test_different_numbers_are_refused() -> None:
    for other in (estimate(1.0, extractor="other"), estimate(1.0, "fid")):
        with pytest.raises(UserError, match="cannot be compared"):
            difference(estimate(1.0), other, paired=False)


def test_reports_are_paired_by_their_images() -> None:
    assert paired(report(), report(seed=1, checkpoint="other.ckpt"))
    for change in ({"data_digest": "2"}, {"n_fake": 999}, {"n_real": 100}, {"extractor": "x"}, {"split": "val"}):
        assert not paired(report(), report(**change))
    assert not paired(report(), None)


def test_the_best_is_held_against_all_others() -> None:
    numbers = [estimate(9.0), None, estimate(1.0), estimate(1.01), dataclasses.replace(estimate(1.0), value=math.nan)]
    ranking = rank(numbers, lambda a, b: False)
    assert ranking.best == 2
    assert [found and found.verdict for found in ranking.behind] == [
        "better", None, None, "inside the noise", "not known"
    ]  # fmt: skip
    said = ranking.sentences()
    assert said[0].startswith("By kid_toy run 3 is better than run 1: -8.00 [")
    assert said[1].startswith("By kid_toy the difference of run 3 and run 4 is inside the noise: -0.01 [")
    assert said[2].startswith("By kid_toy nothing is known of the difference of run 3 and run 5")
    assert len(said) == 3
    assert ranking.objection(0) == [f"But b{said[0][1:]}"]
    assert ranking.objection(2) == ranking.objection(3) == []
    assert rank([None, None], lambda a, b: True) is None
    assert rank(numbers[::-1], lambda a, b: False).best == 2  # what is not finite is never the best
