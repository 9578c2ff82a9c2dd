"""What the numbers say of images, from pixels to the end: real digits and the default extractor, at 32 pixels."""

from __future__ import annotations

from pathlib import Path

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
def extractor() -> EfficientNetExtractor:
    return EfficientNetExtractor(input_size=32)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """600 of them, (600, 1, 28, 28)."""
    data = Mnist5k()
    data.prepare_data()
    data.setup()
    return rows_of(data.train_set, list(range(0, 3600, 6)))[0]


def evidence(fake: Tensor, digits: Tensor, extractor: EfficientNetExtractor, folder: Path) -> Evidence:
    """Images in place of generated ones, held against the third 200 digits, the first 100 being those of training."""
    made = features_of_batches(lambda turns: list(fake.split(64))[turns], len(fake), extractor, folder, ONE)
    train, real = (features_of_set(Rows(part, None), extractor, ONE).features for part in (digits[:100], digits[400:]))
    return Evidence(extractor.name, real, made, train)


def test_blurring_raises_fid_step_by_step(digits: Tensor, extractor: EfficientNetExtractor, tmp_path: Path) -> None:
    fresh = digits[200:400]
    blurs = [fresh, *(gaussian_blur(fresh, 9, sigma) for sigma in (0.5, 1.0, 2.0))]
    found = [FID()(evidence(images, digits, extractor, tmp_path))["fid"] for images in blurs]
    assert found == sorted(found) and found[-1] > 2 * found[0]


def test_the_order_of_images_does_not_matter(digits: Tensor, extractor: EfficientNetExtractor, tmp_path: Path) -> None:
    fresh, order = digits[200:370], torch.randperm(170)
    for metric in (FID(), KID(), PrecisionRecall(), Memorisation()):
        one, other = (metric(evidence(images, digits, extractor, tmp_path)) for images in (fresh, fresh[order]))
        assert other == pytest.approx(one, rel=1e-6, abs=1e-9)


def test_a_replay_of_the_training_images_is_flagged_and_fresh_images_are_not(
    digits: Tensor, extractor: EfficientNetExtractor, tmp_path: Path
) -> None:
    replay, fresh = digits[:100].repeat(2, 1, 1, 1), digits[200:400]
    assert flagged(Memorisation().estimate(evidence(replay, digits, extractor, tmp_path)))
    assert not flagged(Memorisation().estimate(evidence(fresh, digits, extractor, tmp_path)))


def test_a_collapsed_generator_is_precise_and_recalls_little(
    digits: Tensor, extractor: EfficientNetExtractor, tmp_path: Path
) -> None:
    collapsed = digits[400:402].repeat(100, 1, 1, 1)
    found = PrecisionRecall()(evidence(collapsed, digits, extractor, tmp_path))
    assert found["precision"] == 1 and found["recall"] < 0.05
