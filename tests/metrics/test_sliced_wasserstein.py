"""Sliced Wasserstein distance: closed forms of its parts, what has to be nearer, and the way of images to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from labelled import Rows
from normals import evidence_of
from scipy.stats import wasserstein_distance
from tiny_extractor import TinyExtractor
from torch import Tensor

from datamodules.transforms import to_float, to_uint8
from lit_gen.errors import UserError
from lit_gen.metrics import images as pixels
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.evidence import FLOOR, references
from lit_gen.metrics.features import features_of_set
from lit_gen.metrics.sliced_wasserstein import (
    SlicedWasserstein,
    blurred,
    expanded,
    laplacian_pyramid,
    levels_of,
    patches_of,
    projections,
    wasserstein,
)
from lit_gen.metrics.subject import Reals
from lit_gen.ranks import Ranks


def scenes(n: int, seed: int, size: int = 32, channels: int = 3) -> Tensor:
    """Images (n, C, size, size) uint8 of a bright square somewhere on a dark, grainy ground."""
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(n, channels, size, size, generator=random) * 0.2 - 0.8
    for image, (top, left) in zip(images, torch.randint(size // 2, (n, 2), generator=random), strict=True):
        image[:, top : top + size // 3, left : left + size // 3] += torch.rand(channels, 1, 1, generator=random)
    return to_uint8(images)


def seen(real: Tensor, fake: Tensor) -> Evidence:
    return evidence_of(torch.zeros(len(real), 2), torch.zeros(len(fake), 2), real_images=real, fake_images=fake)


def swd(real: Tensor, fake: Tensor, **options: int) -> float:
    return SlicedWasserstein(**{"patches": 16, "directions": 32, **options})(seen(real, fake))["swd"]


@pytest.mark.parametrize(("n", "m"), [(7, 7), (12, 5), (4, 6), (1, 9)])
def test_distance_of_sorted_values_is_scipys(n: int, m: int) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, size, generator=random).sort(1).values for size in (n, m))
    expected = sum(wasserstein_distance(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)) / 3
    assert wasserstein(a, b) == wasserstein(b, a) == pytest.approx(expected, rel=1e-6)
    assert wasserstein(a, a + 0.25) == pytest.approx(0.25)
    assert wasserstein(a, a.repeat_interleave(2, 1)) == pytest.approx(0, abs=1e-7)


def test_levels() -> None:
    assert levels_of((9, 3, 64, 64)) == [(64, 64), (32, 32), (16, 16)]
    assert levels_of((9, 3, 32, 32)) == [(32, 32), (16, 16)]
    assert levels_of((9, 1, 28, 28)) == [(28, 28), (14, 14)]
    assert levels_of((9, 1, 8, 8)) == [(8, 8)]
    assert levels_of((9, 1, 31, 80)) == [(31, 80), (16, 40)]


@pytest.mark.parametrize("size", [(32, 32), (31, 80)])
def test_pyramid_keeps_everything_and_levels_tell_detail_from_the_whole(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    fine, middle, coarse = laplacian_pyramid(images, 3)
    assert coarse.shape[-1] == -(-size[1] // 4)
    again = fine + expanded(middle + expanded(coarse, middle.shape), fine.shape)
    torch.testing.assert_close(again, images)
    detail, whole = laplacian_pyramid(torch.full((1, 1, 32, 32), 0.5), 2)
    torch.testing.assert_close(whole, torch.full((1, 1, 16, 16), 0.5))
    assert detail[..., :30, :30].abs().max() < 1e-6  # the last rows mirror what expansion leaves empty


def test_filter_is_binomial_and_mirrored() -> None:
    dot, binomial = torch.zeros(1, 2, 9, 9), torch.tensor([1.0, 4, 6, 4, 1]) / 16
    dot[0, 1, 4, 4] = dot[0, 0, 0, 3] = 1
    found = blurred(dot)[0]
    torch.testing.assert_close(found[1, 2:7, 2:7], torch.outer(binomial, binomial))
    assert found[1].sum() == pytest.approx(1)
    torch.testing.assert_close(found[0, :3, 1:6], torch.outer(torch.tensor([6.0, 4, 1]) / 16, binomial))


def test_patches_are_those_at_the_places() -> None:
    images, places = scenes(5, 0), torch.tensor([[0, 3, 9], [9, 1, 0]])
    found = patches_of(images, 1, 2, places)
    level = laplacian_pyramid(to_float(images), 2)[1]
    assert found.shape == (5, 3, 3, 49)
    for number, (top, left) in enumerate(places.T.tolist()):
        torch.testing.assert_close(found[:, number], level[:, :, top : top + 7, left : left + 7].flatten(2))


def test_projections_are_of_normalised_patches() -> None:
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(20, 4, 3, 49, generator=random) * torch.tensor([1.0, 5.0, 0.1])[:, None] + 2
    directions = torch.randn(6, 3, 49, generator=random)
    keeps = torch.stack([torch.ones(20, dtype=torch.bool), torch.arange(20) % 4 != 0])
    for keep, found in zip(keeps, projections(patches, directions, keeps), strict=True):
        kept = patches[keep].double()
        deviation, mean = torch.std_mean(kept, (0, 1, 3), correction=0, keepdim=True)
        expected = torch.einsum("npcs,dcs->dnp", (kept - mean) / deviation, directions.double()).flatten(1)
        torch.testing.assert_close(found.double(), expected.sort(1).values, rtol=1e-4, atol=1e-4)


def test_identical_sets_are_0_in_any_order_and_at_any_number() -> None:
    real = scenes(30, 0)
    assert swd(real, real) == 0
    assert swd(real, real.flip(0)) < 1e-3
    assert swd(real, real.repeat(3, 1, 1, 1)) < 1e-2
    other = scenes(40, 1)
    assert swd(real, other) == swd(real, other)
    assert swd(real.flip(0), other.flip(0)) == pytest.approx(swd(real, other), rel=1e-5)
    assert swd(other, real) == pytest.approx(swd(real, other), rel=1e-6)


def test_blurred_and_dull_images_are_farther_than_a_fresh_half() -> None:
    real, fresh = scenes(100, 0), scenes(100, 1)
    near = swd(real, fresh)
    soft = to_uint8(torch.nn.functional.avg_pool2d(to_float(fresh), 3, 1, 1))
    grainless = to_uint8(to_float(fresh).round(decimals=1))
    assert swd(real, soft) > 1.5 * near
    assert swd(real, grainless) > 1.1 * near
    assert swd(real, scenes(100, 1)[:1].expand(100, -1, -1, -1)) > 2 * near  # one image over and over


def test_brightness_and_contrast_are_normalised_away() -> None:
    real = scenes(20, 0) // 2
    assert swd(real, 2 * real + 1) == pytest.approx(0, abs=1e-2)
    flat = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    assert swd(flat, flat) == 0 and 100 < swd(real, flat) < 1000  # nothing is divided by nothing


def test_estimate() -> None:
    real, fake = scenes(60, 0), scenes(90, 1)
    metric = SlicedWasserstein(patches=8, directions=16)
    (found,) = metric.estimate(seen(real, fake))
    assert (found.key, found.better, found.n_real, found.n_fake) == ("swd_pixels", "lower", 60, 90)
    assert len(found.replicates) == 8 and 0 < found.low < found.value < found.high
    expected = Metric.replicates(metric, seen(real, fake), 5)["swd"]
    assert metric.replicates(seen(real, fake), 5)["swd"] == pytest.approx(expected, rel=1e-6)


def test_mistakes() -> None:
    with pytest.raises(UserError, match="found patches 0, expected at least 1"):
        SlicedWasserstein(patches=0)
    with pytest.raises(UserError, match="found directions -1"):
        SlicedWasserstein(directions=-1)
    with pytest.raises(UserError, match=r"generated images of .* \(1, 32, 32\) and real ones of \(3, 32, 32\)"):
        swd(scenes(9, 0), scenes(9, 0, channels=1))
    with pytest.raises(UserError, match="7 pixels or more"):
        swd(scenes(9, 0, 6), scenes(9, 0, 6))
    with pytest.raises(UserError, match="found no real_images, fake_images"):
        SlicedWasserstein().estimate(evidence_of(torch.zeros(9, 2), torch.zeros(9, 2)))


def test_references_have_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path))
    real, train, extractor = scenes(70, 0, 16), scenes(40, 1, 16), TinyExtractor()
    sets = [Rows(to_float(images), torch.zeros(len(images), dtype=torch.int64)) for images in (real, train)]
    reals = Reals(*sets, *(features_of_set(rows, extractor, Ranks()) for rows in sets))
    found = references(reals, 10, {"real_images", "fake_images"}, extractor, tmp_path, Ranks(), lambda n: None)
    assert all(torch.equal(evidence.real_images, real) for evidence in found.values())
    assert torch.equal(found[FLOOR].fake_images, train[::4])
    distances = {name: SlicedWasserstein()(evidence)["swd"] for name, evidence in found.items()}
    assert 0 < max(distances[FLOOR], distances["blurred real images"]) < distances["noise"]
    without = references(reals, 10, set(), extractor, tmp_path, Ranks(), lambda n: None)
    assert all(evidence.real_images is None and evidence.fake_images is None for evidence in without.values())


def test_images_of_two_processes_are_in_their_order() -> None:
    images = scenes(150, 0, 8)
    batches = images.split(64)
    own: list[Tensor] = []
    passed = list(pixels.noted([to_float(batch) for batch in batches[::2]], own))
    assert all(torch.equal(to_uint8(batch), kept) for batch, kept in zip(passed, own, strict=True))
    others = [batches[1], torch.zeros_like(batches[1])]  # the other process has one batch, and fills up the round
    ranks = SimpleNamespace(
        rank=0, world_size=2, broadcast=lambda shape: shape, gather=lambda rows: torch.stack([rows, others.pop(0)])
    )
    assert torch.equal(pixels.gathered(own, 150, ranks), images)
