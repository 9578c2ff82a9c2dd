"""Sliced Wasserstein distance of patches: what it has to be 0 for, and what it has to see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Evidence
from lit_gen.metrics.evidence import blurred as blurred_images
from lit_gen.metrics.jackknife import block_of
from lit_gen.metrics.sliced_wasserstein import SlicedWasserstein, laplacian_pyramid, quantiles_without


def textures(n: int, seed: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def evidence_of(real: Tensor, fake: Tensor) -> Evidence:
    return Evidence("tiny", torch.zeros(len(real), 1), torch.zeros(len(fake), 1), real_images=real, fake_images=fake)


def swd(real: Tensor, fake: Tensor, **options: int) -> float:
    return SlicedWasserstein(**options)(evidence_of(real, fake))["swd"]


def test_equal_sets_are_at_no_distance_in_any_order() -> None:
    images = textures(20, 0)
    assert swd(images, images) == 0
    assert swd(images, images.flip(0)) == pytest.approx(0, abs=1e-3)


def test_a_blurred_set_is_farther_than_a_fresh_one_whatever_the_numbers() -> None:
    real, fresh = textures(150, 0), textures(250, 1)
    assert swd(real, fresh) < swd(real, blurred_images(fresh, 0)) / 2


def test_brightness_and_contrast_of_a_whole_set_do_not_count() -> None:
    images = textures(20, 0)
    assert swd(images, images / 2 + 0.3) == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize(("side", "sides"), [(28, [28, 14]), (32, [32, 16]), (64, [64, 32, 16])])
def test_the_pyramid_ends_at_about_16_and_adds_up(side: int, sides: list[int]) -> None:
    images = textures(2, 0, side)
    levels = laplacian_pyramid(images)
    assert [level.shape[-1] for level in levels] == sides
    total = levels[-1]
    for level in reversed(levels[:-1]):
        total = level + torch.nn.functional.interpolate(total, size=level.shape[-2:], mode="bilinear")
    torch.testing.assert_close(total, images)


def test_what_is_left_out_is_as_if_it_had_never_been_there() -> None:
    projections = torch.randn(12, 5, 3, generator=torch.Generator().manual_seed(0))
    at = torch.tensor([0.1, 0.5, 0.9])
    found = quantiles_without(projections, at, 4)
    rest = projections[block_of(12, 4) != 1]
    torch.testing.assert_close(found[2], quantiles_without(rest, at, 0)[0])


def test_its_numbers_are_called_after_pixels_and_have_intervals() -> None:
    (found,) = SlicedWasserstein().estimate(evidence_of(textures(40, 0), textures(60, 1)))
    assert found.key == "swd_pixels" and found.low <= found.value <= found.high and len(found.replicates) == 20


def test_no_patches_are_refused() -> None:
    with pytest.raises(UserError, match="found patches 0, expected 1 or more"):
        SlicedWasserstein(patches=0)
