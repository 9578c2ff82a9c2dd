import pytest
import torch
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.layers import weight_of


def test_64_pixels_are_the_papers_widths():
    generator = DCGANGenerator(image_size=64, width=64)
    assert [m.num_features for m in generator.modules() if isinstance(m, nn.BatchNorm2d)] == [512, 256, 128, 64]
    discriminator = DCGANDiscriminator(image_size=64, width=64)
    assert [m.out_channels for m in discriminator.modules() if isinstance(m, nn.Conv2d)] == [64, 128, 256, 512]


@pytest.mark.parametrize(
    ("size", "sides"), [(28, [4, 7, 14]), (32, [4, 8, 16]), (64, [4, 8, 16, 32]), (128, [4, 8, 16, 32, 64])]
)
def test_the_sides_of_the_feature_maps(size, sides):
    generator = DCGANGenerator(image_size=size, width=2, latent_dim=3)
    x, found = torch.randn(2, 3), []
    for block in generator.blocks:
        x = block(x)
        found.append(x.shape[-1])
    assert found == sides


@pytest.mark.parametrize("size", [28, 32, 64, 128])
def test_the_discriminator_ends_at_4x4(size):
    x = torch.zeros(2, 1, size, size)
    for block in DCGANDiscriminator(image_size=size, channels=1, width=2).blocks:
        x = block(x)
    assert x.shape[-2:] == (4, 4)


def test_weights_begin_as_in_the_paper():
    torch.manual_seed(0)
    spectral = DCGANDiscriminator(image_size=32, width=32, normalization="spectral")
    for network in (DCGANGenerator(image_size=32, width=32), spectral):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and weight_of(layer).numel() > 3000:
                assert weight_of(layer).std().item() == pytest.approx(0.02, rel=0.1)
            if isinstance(layer, nn.BatchNorm2d):
                assert (layer.bias == 0).all()
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("normalization", "batch_norms", "spectral_norms"), [("none", 0, 0), ("batch", 2, 0), ("spectral", 0, 4)]
)
def test_normalization_of_the_discriminator(normalization, batch_norms, spectral_norms):
    network = DCGANDiscriminator(image_size=32, width=2, normalization=normalization)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == batch_norms
    assert sum("original" in name for name, _ in network.named_parameters()) == spectral_norms
    network(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_an_unknown_normalization_is_the_users_mistake():
    with pytest.raises(UserError, match="found normalization 'layer', expected none, batch or spectral"):
        DCGANDiscriminator(normalization="layer")


def test_spectral_norm_holds_from_the_first_batch_and_after_a_reset():
    torch.manual_seed(0)
    network = DCGANDiscriminator(image_size=32, width=8, normalization="spectral")
    for _ in range(2):
        for layer in (network.blocks[1][0], network.blocks[2][0], network.head):
            largest = torch.linalg.matrix_norm(layer.eval().weight.flatten(1), ord=2).item()
            assert largest == pytest.approx(1, abs=0.1)
        network.train()
        network.reset_parameters()
