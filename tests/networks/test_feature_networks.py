"""A discriminator and an encoder on features: who learns, who does not, and what is reset."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.dcgan import DCGANDiscriminator
from lit_gen.networks.feature_discriminator import FeatureDiscriminator
from lit_gen.networks.feature_encoder import FeatureVAEEncoder
from lit_gen.networks.features import NetworkBlocks, NetworkFeatures


def front(output: str = "maps") -> NetworkFeatures:
    torch.manual_seed(0)
    return NetworkFeatures(DCGANDiscriminator(28, 1, 2), n_blocks=2, output=output)


NETWORKS = {
    "discriminator of maps": lambda: FeatureDiscriminator(front(), width=3),
    "discriminator of vectors": lambda: FeatureDiscriminator(front("flat"), width=3, spectral=False),
    "discriminator of classes": lambda: FeatureDiscriminator(front(), width=3, n_blocks=1, n_classes=4),
    "encoder": lambda: FeatureVAEEncoder(front(), latent_dim=3, hidden=5),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return NETWORKS[request.param]()


def judge(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """One number that all outputs of all images enter."""
    labels = (torch.arange(len(images)),) if getattr(network, "n_classes", None) else ()
    if isinstance(network, FeatureDiscriminator):
        logits = network(network.features(images), *labels)
        assert logits.shape == (len(images),)
        return logits.square().sum()
    mu, logvar = network(images)
    assert mu.shape == logvar.shape == (len(images), 3)
    return mu.square().sum() + logvar.square().sum()


def test_all_but_the_front_learns_and_the_image_gets_its_gradient(network: nn.Module) -> None:
    images = (torch.rand(4, 1, 28, 28) * 2 - 1).requires_grad_(True)
    judge(network.train(), images).backward()
    assert images.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        if name.startswith("features."):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_resetting_spares_the_front(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for parameter in [*network.blocks.parameters(), *network.head.parameters()]:
            parameter.fill_(7.0)
    network.reset_parameters()
    for name, value in network.state_dict().items():
        if name.startswith("features."):
            assert torch.equal(value, before[name])
        else:
            assert not (value == 7).any(), name
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    network.reset_parameters(network.blocks)
    assert all(torch.equal(value, head[name]) for name, value in network.head.state_dict().items())


def test_every_argument_is_kept(network: nn.Module) -> None:
    assert all(hasattr(network, name) for name in inspect.signature(type(network)).parameters)


def test_blocks_begin_with_what_the_front_gives() -> None:
    maps, vectors = FeatureDiscriminator(front(), width=3), FeatureDiscriminator(front("flat"), width=3)
    assert isinstance(maps.blocks[0][0], nn.Conv2d) and isinstance(vectors.blocks[0][0], nn.Linear)
    assert (maps.blocks[0][0].in_channels, vectors.blocks[0][0].in_features) == (4, 4 * 7 * 7)
    assert len(FeatureDiscriminator(front(), n_blocks=3).blocks) == 3


def test_the_label_counts() -> None:
    network = NETWORKS["discriminator of classes"]()
    features = network.features(torch.rand(1, 1, 28, 28))
    assert network(features, torch.tensor([0])) != network(features, torch.tensor([3]))


def test_an_encoder_may_train_the_blocks_that_it_looks_through() -> None:
    encoder = FeatureVAEEncoder(NetworkBlocks(DCGANDiscriminator(28, 1, 2), output="flat"), latent_dim=3)
    encoder(torch.rand(2, 1, 28, 28))[0].sum().backward()
    assert encoder.features.network.blocks[0][0].weight.grad is not None


def test_a_bare_network_is_no_front() -> None:
    for make in (FeatureDiscriminator, FeatureVAEEncoder):
        with pytest.raises(UserError, match=f"{make.__name__}: features is a DCGANDiscriminator(.|\n)*NetworkFeatures"):
            make(DCGANDiscriminator(28, 1, 2))
    with pytest.raises(UserError, match="found n_classes 0"):
        FeatureDiscriminator(front(), n_classes=0)
    with pytest.raises(UserError, match="found hidden 0"):
        FeatureVAEEncoder(front(), hidden=0)
