"""Features of timm and torchvision by name, without a network: a stand-in for timm, untrained models of torchvision."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import torchvision.models
from timm_stand_in import stand_in
from torch import nn

from lit_gen.errors import UserError
from lit_gen.fronts import weights_follow
from lit_gen.networks.library_features import TimmFeatures, TorchvisionFeatures


@pytest.fixture(autouse=True)
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = stand_in()
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_timm_gives_vectors_or_maps_of_images_in_its_own_range() -> None:
    front = TimmFeatures("tiny_net", pretrained=False)
    assert (front.input_size, front.out_features, front.out_channels) == (16, 5, None)
    maps = TimmFeatures("tiny_net", pretrained=False, output="maps", input_size=32)
    assert (maps.out_features, maps.out_channels) == (None, 5)
    assert maps(torch.rand(2, 1, 28, 28)).shape == (2, 5, 8, 8)
    maps(torch.ones(1, 3, 32, 32))
    expected = torch.tensor([1.0, 1.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)  # (1 - mean) / std
    torch.testing.assert_close(maps.model.seen, expected)


def test_both_are_frozen_and_keep_no_constants_in_checkpoints() -> None:
    for front in (TimmFeatures("tiny_net", pretrained=False), small_torchvision()):
        nn.Sequential(front).train()
        assert not any(module.training for module in front.modules())
        assert not any(parameter.requires_grad for parameter in front.parameters())
        assert not {"shift", "scale"} & set(front.state_dict())


def small_torchvision(**options) -> TorchvisionFeatures:
    return TorchvisionFeatures("squeezenet1_1", pretrained=False, **{"input_size": 64, **options})


def test_torchvision_gives_what_the_classifier_would_see_or_a_named_layer() -> None:
    resnet = TorchvisionFeatures("resnet18", pretrained=False, input_size=32)
    assert resnet(torch.rand(2, 1, 28, 28)).shape == (2, 512)
    assert resnet.out_features == 512
    layer = TorchvisionFeatures("resnet18", pretrained=False, layer="layer2", input_size=32)
    assert layer(torch.rand(2, 3, 28, 28)).shape == (2, 128, 4, 4)
    assert layer.out_channels == 128


def test_gradients_reach_the_image() -> None:
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    small_torchvision()(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_weights_that_a_checkpoint_brings_are_not_fetched() -> None:
    with weights_follow():
        assert TimmFeatures("tiny_net").pretrained
    with torch.device("meta"):
        assert TimmFeatures("tiny_net").out_features == 5


def test_a_failed_download_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"tiny_net could not be made: no route to the hub\n.*ImageNetFeatures"):
        TimmFeatures("tiny_net")

    def offline(name: str, weights: str) -> None:
        assert weights == "DEFAULT"
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(UserError, match="resnet18 could not be made: Name or service not known"):
        TorchvisionFeatures("resnet18")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimmFeatures("tiny_nett"), "no model 'tiny_nett'. Did you mean \"tiny_net\""),
        (lambda: TimmFeatures("tiny_net", pretrained=False, output="flat"), "expected maps, mean"),
        (lambda: TimmFeatures("tiny_vit", pretrained=False, output="maps"), "neither maps nor vectors"),
        (lambda: TorchvisionFeatures("resnt18"), "no model 'resnt18'. Did you mean \"resnet18\""),
        (lambda: small_torchvision(layer="featurs"), "no module 'featurs'. Did you mean \"features\""),
    ],
)
def test_mistakes_are_the_users(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_timm_is_one_pip_install_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="pip install timm"):
        TimmFeatures("resnet18")
