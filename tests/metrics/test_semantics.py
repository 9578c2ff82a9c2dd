"""What the numbers say of images, from pixels to the end: real digits and the default extractor, at 32 pixels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from labelled import Rows
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from datamodules.mnist5k import Mnist5k
from lit_gen.metrics.base import Evidence
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.features import features_of_batches, features_of_set
from lit_gen.metrics.fid import FID
from lit_gen.metrics.kid import KID
from lit_gen.metrics.memorisation import Memorisation, flagged
from lit_gen.metrics.precision_recall import PrecisionRecall
from lit_gen.pictures import rows_of
from lit_gen.ranks import Ranks

ONE = Ranks()


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """600 of them, (600, 1, 28, 28)."""
    data = Mnist5k()
    data.prepare_data()
    data.setup()
    return rows_of(data.train_set, list(range(0, 3600, 6)))[0]


@pytest.fixture(scope="module")
def evidence(digits: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tensor], Evidence]:
    """Images in place of generated ones, held against the third 200 digits, the first 100 being those of training."""
    extractor = EfficientNetExtractor(input_size=32)
    train, real = (features_of_set(Rows(part, None), extractor, ONE).features for part in (digits[:100], digits[400:]))

    def of(fake: Tensor) -> Evidence:
        folder = tmp_path_factory.mktemp("made")
        made = features_of_batches(lambda turns: list(fake.split(64))[turns], len(fake), extractor, folder, ONE)
        return Evidence(extractor.name, real, made, train)

    return of


def test_blurring_raises_fid_step_by_step(digits: Tensor, evidence: Callable[[Tensor], Evidence]) -> None:
    fresh = digits[200:400]
    blurs = [fresh, *(gaussian_blur(fresh, 9, sigma) for sigma in (0.5, 1.0, 2.0))]
    found = [FID()(evidence(images))["fid"] for images in blurs]
    assert found == sorted(found) and found[-1] > 2 * found[0]


def test_the_order_of_images_does_not_matter(digits: Tensor, evidence: Callable[[Tensor], Evidence]) -> None:
    fresh, order = digits[200:370], torch.randperm(170)
    one, other = evidence(fresh), evidence(fresh[order])
    for metric in (FID(), KID(), PrecisionRecall(), Memorisation()):
        assert metric(other) == pytest.approx(metric(one), rel=1e-6, abs=1e-9)


def test_a_replay_of_the_training_images_is_flagged_and_fresh_images_are_not(
    digits: Tensor, evidence: Callable[[Tensor], Evidence]
) -> None:
    replay, fresh = digits[:100].repeat(2, 1, 1, 1), digits[200:400]
    assert flagged(Memorisation().estimate(evidence(replay)))
    assert not flagged(Memorisation().estimate(evidence(fresh)))


def test_a_collapsed_generator_is_precise_and_recalls_little(
    digits: Tensor, evidence: Callable[[Tensor], Evidence]
) -> None:
    collapsed = digits[400:402].repeat(100, 1, 1, 1)
    found = PrecisionRecall()(evidence(collapsed))
    assert found["precision"] == 1 and found["recall"] < 0.05
