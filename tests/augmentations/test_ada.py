"""ADA: strength by the rule, transforms with probability p, and each of them by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lit_gen.augmentations.ada import ADA, COLOUR, GEOMETRY, moved, recoloured
from lit_gen.errors import UserError


def images(n: int = 6, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    return torch.rand(n, channels, height, width) * 2 - 1


def logits(share: float, n: int = 20) -> Tensor:
    """Of which this share is positive: r_t = 2 share - 1."""
    return torch.where(torch.arange(n) < round(share * n), 5.0, -0.1)


def test_p_moves_by_images_over_speed_after_every_so_many_batches() -> None:
    ada = ADA(target=0.6, speed=1000, every=2)
    for batch, expected in enumerate([0.0, 0.04, 0.04, 0.08]):  # r_t = 0.8: two batches of 20 are 40 of 1000 images
        ada.observe(logits(0.9))
        assert ada.strength.item() == pytest.approx(expected), batch
    for expected in (0.08, 0.04, 0.04, 0.0, 0.0, 0.0):  # r_t = 0.4, and it never goes below 0
        ada.observe(logits(0.7))
        assert ada.strength.item() == pytest.approx(expected, abs=1e-7)


def test_r_t_is_the_mean_over_the_batches_between() -> None:
    """0.9 and 0.6 alone lie on both sides of the target; their mean, weighted by images, decides."""
    for large, expected in ((logits(1.0, 60), 0.08), (logits(1.0, 10), 0.0)):
        ada = ADA(target=0.6, speed=1000, every=2)
        ada.observe(large)
        ada.observe(logits(0.5, 20))
        assert ada.strength.item() == pytest.approx(expected)  # (60 + 0) / 80 = 0.75, (10 + 0) / 30 = 0.33


def test_p_stops_at_most_and_at_the_target_it_rests() -> None:
    ada = ADA(target=0.0, most=0.3, speed=100, every=1)
    for expected in (0.2, 0.3, 0.3):
        ada.observe(logits(1.0))
        assert ada.strength.item() == pytest.approx(expected)
    ada.observe(logits(0.5))
    assert ada.strength.item() == pytest.approx(0.3)


def test_patches_of_an_image_count_as_one_image() -> None:
    ada = ADA(speed=1000, every=1)
    ada.observe(torch.ones(10, 1, 4, 4))
    assert ada.strength.item() == pytest.approx(0.01)
    ada.observe(logits(0.75, 80).view(5, 1, 4, 4))  # r_t = 0.5, below the target
    assert ada.strength.item() == pytest.approx(0.005)


def test_at_0_images_are_as_they_were_and_at_p_that_share_is_changed() -> None:
    ada, x = ADA(), images(2000, 1, 8, 8)
    assert torch.equal(ada(x), x)
    ada.probability.fill_(0.3)
    for name in ("translation", "brightness", "cutout"):
        share = _share_changed(ada._changed(x, [name], ada.probability), x)
        unmoved = {"translation": 1 / 25, "brightness": 0.0, "cutout": 0.0}  # it draws whole pixels, 0 among them
        assert share == pytest.approx(0.3 * (1 - unmoved[name]), abs=0.05), name
    assert _share_changed(ada._changed(x, ["flip"], ada.probability), x) == pytest.approx(0.15, abs=0.04)


def _share_changed(y: Tensor, x: Tensor) -> float:
    return (y != x).flatten(1).any(1).double().mean().item()


def test_what_is_asked_for_alone_is_there() -> None:
    usual = [*GEOMETRY[:4], "brightness", "contrast", "saturation", "cutout"]
    assert list(ADA().kinds) == usual
    assert set(ADA(rotation=True, colour_inversion=True).kinds) == {*usual, "rotation", "colour_inversion"}
    assert set(GEOMETRY) | set(COLOUR) | {"cutout"} == set(ADA(rotation=True, colour_inversion=True).kinds)
    assert list(ADA(geometry=False, cutout=False).kinds) == ["brightness", "contrast", "saturation"]
    assert list(ADA(colour=False, colour_inversion=True).kinds) == [*GEOMETRY[:4], "cutout"]
    with pytest.raises(UserError, match="nothing is left"):
        ADA(geometry=False, colour=False, cutout=False, rotation=True)


def test_a_flip_is_a_mirror_or_nothing() -> None:
    x = images(40)
    y = moved(x, ["flip"], 1.0)
    same = (y == x).flatten(1).all(1)
    torch.testing.assert_close(y[~same], x[~same].flip(3), atol=1e-5, rtol=0)
    assert 8 < same.sum() < 32


def test_a_translation_is_by_whole_pixels_with_the_border_mirrored() -> None:
    x = images(60, 1, 16, 24)
    padded = torch.cat([x.flip(2)[:, :, -4:], x, x.flip(2)[:, :, :4]], 2)
    padded = torch.cat([padded.flip(3)[..., -4:], padded, padded.flip(3)[..., :4]], 3)
    seen = set()
    for k, y in enumerate(moved(x, ["translation"], 1.0)):
        fits = {
            (dy, dx): (padded[k, :, 4 + dy : 20 + dy, 4 + dx : 28 + dx] - y).abs().max().item()
            for dy in range(-2, 3)
            for dx in range(-3, 4)
        }
        shift = min(fits, key=fits.get)
        assert fits[shift] < 1e-4
        seen.add(shift)
    assert len(seen) > 15


def _disc(height: int, width: int) -> Tensor:
    """A disc of radius 8 in the middle."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= 64
    return inside.float().expand(200, 1, -1, -1)


def test_scaling_keeps_the_form_and_stretching_the_area() -> None:
    """Height and width of a disc, told by its second moments; log2 of the factors has a deviation of 0.2."""
    for name, sign in (("scaling", 1), ("stretching", -1)):
        before, after = (y[:, 0].double() for y in (_disc(48, 64), moved(_disc(48, 64), [name], 1.0)))
        log_x, log_y = ((_deviation(after.sum(dim)) / _deviation(before.sum(dim))).log2() for dim in (1, 2))
        torch.testing.assert_close(log_y, sign * log_x, atol=0.06, rtol=0)
        assert 0.15 < log_x.std() < 0.25


def _deviation(marginal: Tensor) -> Tensor:
    places = torch.arange(marginal.shape[1]).double()
    share = marginal / marginal.sum(1, keepdim=True)
    mean = (share * places).sum(1, keepdim=True)
    return (share * (places - mean) ** 2).sum(1).sqrt()


def test_a_rotation_keeps_discs_and_turns_bars() -> None:
    disc = _disc(32, 48)[:20]
    assert (moved(disc, ["rotation"], 1.0) - disc).abs().mean() < 0.02  # pixels of different sides are square ones
    bar = torch.zeros(50, 1, 33, 33)
    bar[:, :, 14:19, 8:25] = 1
    y = moved(bar, ["rotation"], 1.0)[:, 0].double()
    torch.testing.assert_close(y.sum((1, 2)), torch.full((50,), 85.0).double(), atol=4, rtol=0)
    assert _deviation(y.sum(1)).std() > 0.5


def test_colours_by_hand() -> None:
    x = images(50)
    luma = x.mean(1, keepdim=True)
    y = recoloured(x, ["brightness"], 1.0)
    added = (y - x).flatten(1)
    torch.testing.assert_close(added, added[:, :1].expand_as(added), atol=1e-5, rtol=0)
    assert 0.12 < added[:, 0].std() < 0.28
    y = recoloured(x, ["contrast"], 1.0)
    factor = (y / x).flatten(1).median(1).values
    torch.testing.assert_close(y, factor.view(-1, 1, 1, 1) * x, atol=1e-4, rtol=1e-3)
    assert 0.3 < factor.log2().std() < 0.7
    y = recoloured(x, ["saturation"], 1.0)
    torch.testing.assert_close(y.mean(1, keepdim=True), luma, atol=1e-5, rtol=0)
    factor = ((y - luma) / (x - luma)).flatten(1).median(1).values
    torch.testing.assert_close(y - luma, factor.view(-1, 1, 1, 1) * (x - luma), atol=1e-4, rtol=1e-3)
    y = recoloured(x, ["colour_inversion"], 1.0)
    kept = (y == x).flatten(1).all(1)
    torch.testing.assert_close(y[~kept], (x - 2 * luma)[~kept], atol=1e-5, rtol=0)
    assert 10 < kept.sum() < 40


def test_grey_images_know_no_saturation_and_their_inversion_is_the_negative() -> None:
    x = images(20, 1)
    torch.testing.assert_close(recoloured(x, ["saturation"], 1.0), x, atol=1e-5, rtol=1e-5)
    y = recoloured(x, ["colour_inversion"], 1.0)
    torch.testing.assert_close(y.abs(), x.abs())
    assert not math.isclose(y.sum().item(), x.sum().item())
