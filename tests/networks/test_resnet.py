import pytest
import torch
from torch import nn

from lit_gen.networks.layers import weight_of
from lit_gen.networks.resnet import ResNetDiscriminator, ResNetGenerator


def test_32_pixels_are_the_papers_widths():
    generator, discriminator = ResNetGenerator(image_size=32, width=8), ResNetDiscriminator(image_size=32, width=8)
    assert [block.conv2.out_channels * 8 for block in generator.blocks[1:]] == [256, 256, 256]
    assert [block.conv2.out_channels * 8 for block in discriminator.blocks] == [128, 128, 128, 128]


def test_64_pixels_are_the_papers_widths():
    # An eighth of the paper's width of 64, for speed.
    generator, discriminator = ResNetGenerator(image_size=64, width=8), ResNetDiscriminator(image_size=64, width=8)
    assert [block.conv2.out_channels * 8 for block in generator.blocks[1:]] == [512, 256, 128, 64]
    assert [block.conv2.out_channels * 8 for block in discriminator.blocks] == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize(("size", "last"), [(28, 7), (32, 8), (64, 4), (128, 4)])
def test_the_discriminators_last_feature_map(size, last):
    network = ResNetDiscriminator(image_size=size, channels=1, width=2)
    x = torch.zeros(2, 1, size, size)
    for block in network.blocks:
        x = block(x)
    assert x.shape[-1] == last


def test_every_layer_of_the_discriminator_is_spectral_normed():
    network = ResNetDiscriminator(image_size=32, width=4)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert layers
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.eval().weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.1)


def test_residual_convolutions_begin_wider_by_root_two():
    torch.manual_seed(0)
    block = ResNetGenerator(image_size=32, width=16).blocks[1]
    limit = (6 / (64 * 9 + 64 * 9)) ** 0.5  # Glorot & Bengio 2010, eq. 16
    assert weight_of(block.conv1).abs().max().item() == pytest.approx(limit * 2**0.5, rel=0.01)
    assert weight_of(block.shortcut).abs().max().item() == pytest.approx((6 / 128) ** 0.5, rel=0.01)
