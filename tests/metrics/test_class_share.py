"""The share of images in ImageNet's classes, by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot

from lit_gen.errors import UserError
from lit_gen.metrics.assessment import every_metric
from lit_gen.metrics.base import Evidence
from lit_gen.metrics.class_share import ClassShare


def evidence_of(real: list[int], fake: list[int]) -> Evidence:
    real_logits, fake_logits = (one_hot(torch.tensor(classes), 1000).float() for classes in (real, fake))
    return Evidence("tiny", torch.zeros(len(real), 2), torch.zeros(len(fake), 2),
                    fake_logits=fake_logits, real_logits=real_logits)  # fmt: skip


def test_both_shares_by_hand() -> None:
    evidence = evidence_of([281, 285, 7, 283], [280, 281, 282, 286, 1, 2, 3, 4])
    assert ClassShare()(evidence) == {"class_share": 0.25, "class_share_of_real": 0.25 / 0.75}
    assert ClassShare([7])(evidence) == {"class_share": 0.0, "class_share_of_real": 0.0}


def test_the_ratio_may_exceed_one_and_its_interval_holds_it() -> None:
    share, ratio = ClassShare().estimate(evidence_of([281, 1] * 20, [281, 281, 281, 1] * 20))
    assert (share.value, ratio.value) == (0.75, 1.5)
    assert share.low < 0.75 < share.high <= 1 and ratio.low < 1.5 < ratio.high


@pytest.mark.parametrize("classes", [[], [1000], [-1, 3]])
def test_classes_that_do_not_exist_are_refused(classes: list[int]) -> None:
    with pytest.raises(UserError, match="expected some numbers of 0 to 999"):
        ClassShare(classes)


def test_reals_of_other_classes_are_refused() -> None:
    with pytest.raises(UserError, match="none of 4 real images"):
        ClassShare()(evidence_of([1, 2, 3, 4], [281] * 4))


def test_only_those_who_ask_for_it_get_it() -> None:
    assert not any(isinstance(metric, ClassShare) for metric in every_metric())
