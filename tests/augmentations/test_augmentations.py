"""What every augmentation has to do, found by walking the room, and what DiffAugment's transforms are by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lit_gen.augmentations.ada import ADA
from lit_gen.augmentations.base import Augmentation, cut_out, recolour
from lit_gen.augmentations.diff_augment import DiffAugment, jitter, shift
from lit_gen.errors import UserError
from lit_gen.rooms import import_rooms

import_rooms()
ALL = [found for found in Augmentation.__subclasses__() if found.__module__.startswith("lit_gen.")]


def at_work(kind: type[Augmentation]) -> Augmentation:
    """One whose every transform is done to about every image that it may be done to."""
    augment = kind()
    for name, buffer in augment.named_buffers():
        if name == "probability":
            buffer.fill_(1.0)
    return augment


def images(n: int = 6, channels: int = 3, height: int = 16, width: int = 12) -> Tensor:
    return torch.rand(n, channels, height, width) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ALL)
def test_each_image_is_changed_by_itself_and_gradients_flow_back(kind: type[Augmentation], channels: int) -> None:
    augment, x = at_work(kind), images(32, channels).requires_grad_()
    y = augment(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert (y != x).flatten(1).any(1).all()
    same = at_work(kind)(x[:1].expand(8, -1, -1, -1))
    assert len(same.flatten(1).unique(dim=0)) == 8  # drawn for each image anew
    (gradient,) = torch.autograd.grad(y[0].sum(), x)
    assert gradient[0].any() and not gradient[1:].any()  # an image depends on itself alone


@pytest.mark.parametrize("kind", ALL)
def test_each_kind_alone_changes_something_and_the_seed_decides_what(kind: type[Augmentation]) -> None:
    augment, x = kind(), images()
    assert augment.kinds
    for name, transform in augment.kinds.items():
        first, second = (torch.manual_seed(seed) and transform(x) for seed in (3, 3))
        assert torch.equal(first, second), name
        assert first.shape == x.shape
        assert not torch.equal(first, x), name
        torch.manual_seed(4)
        assert not torch.equal(transform(x), first), name


@pytest.mark.parametrize("kind", ALL)
def test_the_precision_of_the_images_stays(kind: type[Augmentation]) -> None:
    for transform in (at_work(kind), *kind().kinds.values()):
        assert transform(images().bfloat16()).dtype == torch.bfloat16
        assert transform(images().double()).dtype == torch.float64


def test_colours_one_after_the_other_are_the_one_map() -> None:
    x = images()
    torch.manual_seed(1)
    found = jitter(x)
    torch.manual_seed(1)
    brightness, saturation, contrast = (torch.rand(6, 1, 1, 1) for _ in range(3))
    y = x + brightness - 0.5
    grey = y.mean(1, keepdim=True)
    y = (y - grey) * 2 * saturation + grey
    mean = y.mean((1, 2, 3), keepdim=True)
    y = (y - mean) * (contrast + 0.5) + mean
    torch.testing.assert_close(found, y)


def test_recolouring_grey_is_recolouring_three_equal_channels() -> None:
    x, numbers = images(channels=1), [torch.rand(6, 1, 1, 1) for _ in range(3)]
    coloured = recolour(x.expand(-1, 3, -1, -1), *numbers)
    torch.testing.assert_close(recolour(x, *numbers).expand(-1, 3, -1, -1), coloured)


def test_a_shift_is_by_whole_pixels_up_to_an_eighth_and_zeros_come_in() -> None:
    x = images(400, 1, 16, 24) + 3  # nowhere 0
    found = set()
    for before, after in zip(x, shift(x), strict=True):
        rows, columns = (after[0] != 0).any(1).nonzero(), (after[0] != 0).any(0).nonzero()
        (top, bottom), (left, right) = (tuple(side.aminmax()) for side in (rows, columns))
        dy = top if top > 0 else bottom - 15
        dx = left if left > 0 else right - 23
        padded = torch.nn.functional.pad(before, (3, 3, 2, 2))
        assert torch.equal(after, padded[:, 2 - dy : 18 - dy, 3 - dx : 27 - dx])
        found.add((int(dy), int(dx)))
    assert found == {(dy, dx) for dy in range(-2, 3) for dx in range(-3, 4)}


def test_a_cut_is_half_the_side_centred_anywhere_and_leaves_the_rest() -> None:
    x = images(500, 2, 8, 12) + 3
    y = cut_out(x)
    hidden = (y == 0).all(1)
    assert torch.equal(y, torch.where(hidden[:, None], 0.0, x))
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert set(heights.tolist()) == {2, 3, 4} and set(widths.tolist()) == {3, 4, 5, 6}
    assert torch.equal(hidden.flatten(1).sum(1), heights * widths)  # a rectangle
    for edge in (0, -1):  # on both sides a half of it may lie outside
        assert heights[hidden[:, edge].any(1)].min() == 2 and widths[hidden[:, :, edge].any(1)].min() == 3
    some = torch.arange(500).view(-1, 1, 1, 1) % 2 == 0
    kept = cut_out(x, some)[1::2]
    assert torch.equal(kept, x[1::2])


def test_a_policy_is_what_it_names() -> None:
    assert list(DiffAugment().kinds) == ["color", "translation", "cutout"]
    one = DiffAugment(["cutout"])
    assert list(one.kinds) == ["cutout"]
    x = images() + 3
    assert set((one(x) / x).unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("policy", [[], ["colour"], ["cutout", "cutout"]])
def test_policies_that_are_none(policy: list[str]) -> None:
    with pytest.raises(UserError, match="expected some of color, translation, cutout, each once"):
        DiffAugment(policy)


@pytest.mark.parametrize("name,value", [("target", 1.0), ("most", 0.0), ("most", 1.5), ("speed", 0), ("every", 0)])
def test_numbers_outside_their_range(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"ADA: {name} is {value}, expected"):
        ADA(**{name: value})
