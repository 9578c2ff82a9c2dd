"""Frozen features: nothing of them moves, images get their gradients, and sizes are what they say."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.features import ImageNetFeatures, NetworkBlocks, NetworkFeatures
from lit_gen.networks.mlp import MLPDiscriminator
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.resnet import ResNetDiscriminator
from lit_gen.networks.vae import ConvEncoder

FRONTS = {
    "batch norm": lambda: NetworkFeatures(DCGANDiscriminator(28, 1, 2), n_blocks=2),
    "spectral": lambda: NetworkFeatures(DCGANDiscriminator(28, 1, 2, "spectral"), output="flat"),
    "encoder": lambda: NetworkFeatures(ConvEncoder(28, 1, 3, 2)),
    "ImageNet": lambda: ImageNetFeatures(stride=8, input_size=32),
}


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return FRONTS[request.param]()


def test_training_leaves_every_bit_where_it_is(front: nn.Module) -> None:
    before = {name: value.clone() for name, value in front.state_dict().items()}
    parent = nn.Sequential(front).train()
    assert not any(module.training for module in front.modules())
    parent(torch.rand(4, 1, 28, 28) * 2 - 1)
    assert not any(parameter.requires_grad for parameter in front.parameters())
    assert all(torch.equal(value, before[name]) for name, value in front.state_dict().items())


def test_gradients_flow_through_to_the_image(front: nn.Module) -> None:
    images = (torch.rand(2, 1, 28, 28) * 2 - 1).requires_grad_(True)
    front(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_the_sizes_are_what_comes_out(front: nn.Module) -> None:
    found = front(torch.rand(2, 1, 28, 28))
    sizes = (front.out_channels, front.out_features)
    assert sizes == ((found.shape[1], None) if found.dim() == 4 else (None, found.shape[1]))


def test_every_argument_is_kept(front: nn.Module) -> None:
    assert all(hasattr(front, name) for name in inspect.signature(type(front)).parameters)


def test_blocks_are_those_of_the_network() -> None:
    network = DCGANDiscriminator(28, 1, 2)
    images = torch.rand(3, 1, 28, 28)
    front = NetworkFeatures(network, n_blocks=2)
    torch.testing.assert_close(front(images), network.blocks[1](network.blocks[0](images)))
    assert NetworkFeatures(network, n_blocks=2, output="flat").out_features == 4 * 7 * 7
    torch.testing.assert_close(NetworkFeatures(network, 2, "mean")(images), front(images).mean((2, 3)))


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLPDiscriminator(image_size=28, channels=1, hidden=[6, 5]), (5,)),
        (ResNetDiscriminator(image_size=32, channels=3, width=2), None),
        (PatchDiscriminator(channels=3, width=2), None),
        (ProjectionDCGANDiscriminator(28, 1, n_classes=3, width=2), (8, 4, 4)),
        (ConvEncoder(28, 1, latent_dim=3, width=2), (16,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_judge_of_images_can_be_looked_through(network: nn.Module, shape: tuple[int, ...] | None) -> None:
    front = NetworkFeatures(network)
    found = front(torch.rand(2, 1, getattr(network, "image_size", 64), getattr(network, "image_size", 64)))
    assert found.shape[0] == 2
    assert shape is None or found.shape[1:] == shape


def test_blocks_that_learn_are_the_same_less_the_freezing() -> None:
    network = DCGANDiscriminator(28, 1, 2)
    learning = NetworkBlocks(network, n_blocks=2).train()
    before = network.blocks[1][1].running_mean.clone()
    assert all(parameter.requires_grad for parameter in learning.parameters())
    learning(torch.rand(4, 1, 28, 28)).sum().backward()
    assert network.blocks[0][0].weight.grad is not None
    assert not torch.equal(before, network.blocks[1][1].running_mean)
    frozen = NetworkFeatures(network, n_blocks=2)
    assert frozen.state_dict().keys() == learning.state_dict().keys()  # the same weights can be loaded into both
    torch.testing.assert_close(frozen(torch.ones(2, 1, 28, 28)), learning.eval()(torch.ones(2, 1, 28, 28)))


def test_measuring_leaves_no_trace() -> None:
    torch.manual_seed(0)
    network = DCGANDiscriminator(28, 1, 2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    NetworkBlocks(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("stride", "channels"), [(4, 24), (8, 40), (16, 112), (32, 320), (None, 1280)])
def test_imagenet_features_at_each_stride(stride: int | None, channels: int) -> None:
    front = ImageNetFeatures(stride=stride)
    side = 64 // (stride or 32)
    assert front(torch.rand(1, 3, 64, 64)).shape == (1, channels, side, side)
    assert front.out_channels == channels
    assert ImageNetFeatures(stride=stride, output="mean").out_features == channels


def test_grey_images_are_three_equal_channels_and_sizes_are_brought_to_one() -> None:
    front = ImageNetFeatures(stride=8, input_size=64)
    grey = torch.rand(2, 1, 28, 28) * 2 - 1
    torch.testing.assert_close(front(grey), front(grey.repeat(1, 3, 1, 1)))
    assert front(grey).shape[-2:] == (8, 8)
    large = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(front(large), ImageNetFeatures(stride=8)(large))


@pytest.mark.parametrize("output", ["maps", "mean"])
def test_imagenet_features_have_mean_square_1(output: str) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    found, raw = (ImageNetFeatures("lite0", 8, output, normalize=choice)(images) for choice in (True, False))
    torch.testing.assert_close(found.square().mean(1), torch.ones_like(found[:, 0]))
    torch.testing.assert_close(found * raw.square().mean(1, keepdim=True).sqrt(), raw)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkFeatures(nn.Linear(2, 2)), "Linear has no blocks"),
        (lambda: NetworkFeatures(DCGANDiscriminator(28, 1, 2), 4), "found n_blocks 4, but .* has 3 blocks"),
        (lambda: NetworkBlocks(DCGANDiscriminator(28, 1, 2), 0), "found n_blocks 0"),
        (lambda: NetworkFeatures(DCGANGenerator(28, 1, 3, 2)), "do not take an image of 1x28x28 alone"),
        (lambda: NetworkFeatures(ConditionalDCGANGenerator(28, 1, 3, 4, 2)), "do not take an image"),
        (lambda: NetworkFeatures(ConvEncoder(28, 1, 3, 2, n_classes=4)), "a block may want labels"),
        (lambda: NetworkFeatures(DCGANDiscriminator(28, 1, 2), output="vector"), "expected maps, mean, flat"),
        (lambda: ImageNetFeatures(stride=2), "found stride 2, expected 4, 8, 16, 32"),
        (lambda: ImageNetFeatures(output="flat"), "expected maps, mean"),
        (lambda: ImageNetFeatures(input_size=0), "found input_size 0"),
    ],
)
def test_mistakes_are_the_users(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
