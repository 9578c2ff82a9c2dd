"""Shape policies: each against what a network computes, not against its own formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_gen.transfer.policies import POLICIES, Slot, class_places


def adapt(policy: str, old: torch.Tensor, layer: nn.Module, name: str = "weight", old_classes=(), new_classes=()):
    """What the policy makes of `old` for a parameter of `layer`; the meta device has to agree about the shape."""
    built = getattr(layer, name)
    slot = Slot(layer, name, old_classes, new_classes)
    value = POLICIES[policy](old, built, slot)
    shape = POLICIES[policy](torch.empty_like(old, device="meta"), built.to("meta"), slot).shape
    assert value.shape == shape == built.shape
    return value.detach()


def test_repeat_answers_a_grey_image_as_before() -> None:
    grey, rgb = nn.Conv2d(1, 5, 3), nn.Conv2d(3, 5, 3)
    with torch.no_grad():
        rgb.weight.copy_(adapt("repeat", grey.weight, rgb))
        rgb.bias.copy_(grey.bias)
    image = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(rgb(image.expand(-1, 3, -1, -1)), grey(image))


def test_repeat_makes_three_equal_channels() -> None:
    grey, rgb = nn.ConvTranspose2d(5, 1, 4), nn.ConvTranspose2d(5, 3, 4)
    with torch.no_grad():
        rgb.weight.copy_(adapt("repeat", grey.weight, rgb))
        rgb.bias.copy_(adapt("repeat", grey.bias, rgb, "bias"))
    features = torch.randn(2, 5, 6, 6)
    torch.testing.assert_close(rgb(features), grey(features).expand(-1, 3, -1, -1))


def test_mean_is_the_way_back() -> None:
    for wide, narrow in ((nn.Conv2d(3, 5, 3), nn.Conv2d(1, 5, 3)), (nn.Linear(12, 5), nn.Linear(4, 5))):
        repeated = adapt("repeat", narrow.weight, wide)
        torch.testing.assert_close(adapt("mean", repeated, narrow), narrow.weight.detach())
    rgb, grey = nn.ConvTranspose2d(5, 3, 4), nn.ConvTranspose2d(5, 1, 4)
    features = torch.randn(2, 5, 6, 6)
    with torch.no_grad():
        grey.weight.copy_(adapt("mean", rgb.weight, grey))
        grey.bias.copy_(adapt("mean", rgb.bias, grey, "bias"))
    torch.testing.assert_close(grey(features), rgb(features).mean(1, keepdim=True))


def test_slice_and_pad_keep_the_first_channels() -> None:
    wide, narrow = nn.Conv2d(4, 6, 3), nn.Conv2d(2, 3, 3)
    torch.testing.assert_close(adapt("slice", wide.weight, narrow), wide.weight[:3, :2].detach())
    padded = adapt("pad", narrow.weight, wide)
    torch.testing.assert_close(padded[:3, :2], narrow.weight.detach())
    torch.testing.assert_close(padded[3:], wide.weight[3:].detach())
    torch.testing.assert_close(padded[:, 2:], wide.weight[:, 2:].detach())


def test_interpolate_keeps_the_sum_of_a_kernel_and_the_values_of_a_constant() -> None:
    small, large = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 4)
    with torch.no_grad():
        small.weight.copy_(torch.ones_like(small.weight) * torch.arange(1.0, 4.0)[:, None, None, None])
    torch.testing.assert_close(adapt("interpolate", small.weight, large).sum((2, 3)), small.weight.sum((2, 3)).detach())
    constant = nn.Module()
    constant.value = nn.Parameter(torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(adapt("interpolate", torch.full((1, 3, 4, 4), 2.5), constant, "value"),
                               torch.full((1, 3, 8, 8), 2.5))  # fmt: skip


def test_grow_takes_rows_by_name_and_new_ones_from_the_mean() -> None:
    table, built = torch.arange(6.0).reshape(3, 2), nn.Embedding(4, 2)
    grown = adapt("grow", table, built, old_classes=["cat", "dog", "cow"], new_classes=["cow", "lynx", "cat", "dog"])
    torch.testing.assert_close(grown, torch.stack([table[2], table.mean(0), table[0], table[1]]))


def test_grow_without_names_goes_by_number() -> None:
    table = torch.arange(6.0).reshape(3, 2)
    grown = adapt("grow", table, nn.Embedding(5, 2))
    torch.testing.assert_close(grown, torch.cat([table, table.mean(0).expand(2, -1)]))


def test_grow_nearest_begins_as_the_class_of_the_most_similar_name() -> None:
    table = torch.arange(6.0).reshape(3, 2)
    grown = adapt("grow_nearest", table, nn.Embedding(4, 2), old_classes=["tabby cat", "collie", "cow"],
                  new_classes=["tabby cat", "collie", "cow", "tiger cat"])  # fmt: skip
    torch.testing.assert_close(grown[3], table[0])


def test_a_vector_becomes_every_row_of_a_table_and_back() -> None:
    vector = torch.arange(4.0)
    layer = nn.Module()
    layer.gain = nn.Parameter(torch.zeros(3, 4))
    table = adapt("grow", vector, layer, "gain")
    torch.testing.assert_close(table, vector.expand(3, -1))
    torch.testing.assert_close(adapt("mean", table, nn.BatchNorm2d(4), "weight"), vector)


@pytest.mark.parametrize(
    ("policy", "old", "layer", "says"),
    [
        ("slice", (2, 4), nn.Linear(4, 3), "pad makes them larger"),
        ("pad", (4, 4), nn.Linear(4, 3), "slice makes them smaller"),
        ("repeat", (3, 3), nn.Linear(4, 3), "multiple"),
        ("mean", (3, 4), nn.Linear(4, 3, bias=False), "multiple"),
        ("interpolate", (3, 3), nn.Linear(4, 3), "4-d"),
        ("grow", (3, 5), nn.Embedding(4, 4), "first dimension"),
        ("grow_nearest", (3, 4), nn.Embedding(4, 4), "needs the names"),
        ("slice", (3,), nn.Linear(4, 3), "dimensions"),
    ],
)
def test_what_a_policy_cannot_do_it_says(policy: str, old: tuple, layer: nn.Module, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        POLICIES[policy](torch.zeros(old), layer.weight, Slot(layer, "weight"))


def test_class_places_fall_back_on_numbers_where_no_name_is_known() -> None:
    assert class_places(2, 3, ["a", "b"], ["x", "y", "z"]) == [0, 1, None]
    assert class_places(2, 3, [], ["x", "y", "z"]) == [0, 1, None]
    assert class_places(2, 3, ["a", "b"], ["b", "y", "a"]) == [1, None, 0]
