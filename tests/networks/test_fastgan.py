import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_gen.networks.fastgan import FastGANGenerator, SkipLayerExcitation, UpsamplingConvolution


def excited(network: FastGANGenerator) -> dict[int, int]:
    """Side of the early map for the side of each late map that it excites, as they come along."""
    seen, sides = {}, [network.blocks[0][1].unflattened_size[1]]
    for block in network.blocks[1:]:
        sides.append(2 * sides[-1])
        if block.excitation is not None:
            late = sides[-1]
            block.excitation.register_forward_hook(lambda _, x, y, late=late: seen.update({late: x[0].shape[-1]}))
    network(torch.randn(2, network.latent_dim))
    assert sides[-1] == network.image_size
    return seen


@pytest.mark.parametrize(
    ("size", "skips"),
    [
        (28, {28: 7}),
        (32, {16: 4, 32: 8}),
        (64, {64: 4}),
        (128, {64: 4, 128: 8}),
        (256, {64: 4, 128: 8, 256: 16}),
    ],
)
def test_early_maps_excite_late_ones(size, skips):
    assert excited(FastGANGenerator(size, 1, latent_dim=3, width=2)) == skips


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [(64, 32, [128, 64, 32, 16, 8]), (32, 32, [64, 32, 16, 8]), (64, 8, [32, 16, 8, 8, 8]), (32, 3, [6, 3, 3, 3])],
)
def test_channels_double_with_every_halving(size, width, expected):
    network = FastGANGenerator(size, 3, latent_dim=3, width=width)
    maps = []
    for block in network.blocks:
        block.register_forward_hook(lambda *seen: maps.append(seen[2].shape[1]))
    network(torch.randn(2, 3))
    assert maps == expected


@pytest.mark.parametrize("bias", [True, False])
def test_the_convolution_is_that_of_an_upsampled_map(bias):
    torch.manual_seed(0)
    convolution = UpsamplingConvolution(3, 5, 3, padding=1, bias=bias).double()
    x = torch.randn(2, 3, 7, 7, dtype=torch.double)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(convolution(x), plain)
    gradients = [torch.autograd.grad(y.square().sum(), convolution.weight)[0] for y in (convolution(x), plain)]
    torch.testing.assert_close(*gradients)


def test_an_excitation_scales_whole_channels():
    torch.manual_seed(0)
    network = FastGANGenerator(32, 3, latent_dim=3, width=8).eval()
    block, early, x = network.blocks[2], torch.randn(2, 16, 4, 4), torch.randn(2, 8, 8, 8)
    factor = block.excitation(early)
    assert factor.shape == (2, 8, 1, 1)
    without = block.gate(block.norm(block.convolution(x)))
    torch.testing.assert_close(block(x, early), without * factor)
    nn.init.zeros_(block.excitation.excite.weight)
    torch.testing.assert_close(block(x, early), without / 2)  # sigmoid(0)


def test_an_excitation_by_hand():
    excitation = SkipLayerExcitation(1, 1)
    for layer in (excitation.squeeze, excitation.excite):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    early = torch.full((1, 1, 8, 8), -0.5)  # 4x4 means of -0.5 add up to -8, and LeakyReLU leaves a tenth
    torch.testing.assert_close(excitation(early), torch.tensor(-0.8).sigmoid().view(1, 1, 1, 1))
