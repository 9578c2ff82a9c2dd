"""Where the label enters: conditional BatchNorm, the embedding beside z, the projection."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.conditional_layers import ConditionalBatchNorm2d, Judgement, ProjectionHead
from lit_gen.networks.conditional_resnet import ConditionalResNetGenerator, ProjectionResNetDiscriminator
from lit_gen.networks.dcgan import DCGANGenerator
from lit_gen.networks.resnet import ResNetGenerator

GENERATORS = [ConditionalDCGANGenerator, ConditionalResNetGenerator]
DISCRIMINATORS = [ProjectionDCGANDiscriminator, ProjectionResNetDiscriminator]
LABELS = torch.tensor([2, 0, 2, 1])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def generator(network: type[nn.Module], condition: str = "batch_norm", size: int = 28) -> nn.Module:
    return network(size, channels=1, n_classes=4, latent_dim=3, width=2, condition=condition)


def discriminator(network: type[nn.Module], size: int = 28, **options) -> nn.Module:
    return network(size, channels=1, n_classes=4, width=2, **options)


def test_batch_norm_of_the_class_in_closed_form() -> None:
    layer = ConditionalBatchNorm2d(channels=3, n_classes=4)
    x = torch.randn(4, 3, 5, 5) * 2 + 1
    plain = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x, LABELS), plain)  # gain 1 and bias 0 at first
    with torch.no_grad():
        layer.gain.normal_()
        layer.bias.normal_()
    expected = torch.stack(
        [layer.gain[y][:, None, None] * h + layer.bias[y][:, None, None] for h, y in zip(plain, LABELS, strict=True)]
    )
    torch.testing.assert_close(layer(x, LABELS), expected)
    layer.reset_parameters()
    assert (layer.gain == 1).all()
    assert (layer.bias == 0).all()
    assert (layer.norm.running_mean == 0).all()


def test_projection_in_closed_form() -> None:
    head = ProjectionHead(features=5, n_classes=4, spectral=False, auxiliary_classifier=False)
    h = torch.randn(4, 5)
    w, c, v = head.linear.weight[0], head.linear.bias, head.embedding.weight
    expected = torch.stack([w @ h[i] + c[0] + v[y] @ h[i] for i, y in enumerate(LABELS)])
    torch.testing.assert_close(head(h, LABELS), expected)


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_every_weight_of_the_head_is_spectral_normed(network) -> None:
    options = {"normalization": "spectral"} if network is ProjectionDCGANDiscriminator else {}
    module = network(28, 1, n_classes=4, width=8, auxiliary_classifier=True, **options).eval()
    for layer in (module.head.linear, module.head.embedding, module.head.classifier):
        assert torch.linalg.matrix_norm(layer.weight, ord=2).item() == pytest.approx(1, abs=0.05)
    module.train()(torch.randn(3, 1, 28, 28), torch.arange(3)).logits.sum().backward()
    assert module.head.embedding.parametrizations.weight.original.grad is not None


@pytest.mark.parametrize("network", GENERATORS)
@pytest.mark.parametrize("condition", ["batch_norm", "embedding"])
@pytest.mark.parametrize("size", [28, 32, 64, 128])
def test_labels_change_the_image(network, condition, size) -> None:
    module = generator(network, condition, size)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, ConditionalBatchNorm2d):  # alike for all classes before training
                layer.gain.normal_()
    z = torch.randn(1, 3).expand(4, 3)
    images = module.eval()(z, LABELS)
    assert images.shape == (4, 1, size, size)
    torch.testing.assert_close(images[0], images[2])
    assert not torch.allclose(images[0], images[1])


@pytest.mark.parametrize("network", DISCRIMINATORS)
@pytest.mark.parametrize("size", [28, 32, 64, 128])
def test_labels_change_the_logit(network, size) -> None:
    module = discriminator(network, size)
    logits = module.eval()(torch.randn(1, 1, size, size).expand(4, -1, -1, -1), LABELS)
    assert logits.shape == (4,)
    torch.testing.assert_close(logits[0], logits[2])
    assert logits[0] != logits[1]


def rows_with_gradient(table: torch.Tensor) -> list[int]:
    return table.grad.abs().sum(1).nonzero().flatten().tolist()


@pytest.mark.parametrize("network", GENERATORS)
def test_gradients_reach_the_classes_of_the_batch_alone(network) -> None:
    module = generator(network)
    module(torch.randn(4, 3), LABELS).square().sum().backward()
    norms = [layer for layer in module.modules() if isinstance(layer, ConditionalBatchNorm2d)]
    plain = {ConditionalDCGANGenerator: DCGANGenerator, ConditionalResNetGenerator: ResNetGenerator}[network]
    assert len(norms) == sum(isinstance(m, nn.BatchNorm2d) for m in plain(28, 1, 3, 2).modules())
    for norm in norms:
        assert set(rows_with_gradient(norm.bias)) | set(rows_with_gradient(norm.gain)) == {0, 1, 2}
    module = generator(network, "embedding")
    assert not any(isinstance(layer, ConditionalBatchNorm2d) for layer in module.modules())
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()) == len(norms)
    module(torch.randn(4, 3), LABELS).square().sum().backward()
    assert rows_with_gradient(module.embedding.weight) == [0, 1, 2]


def test_gradients_reach_the_vectors_of_the_batch_alone() -> None:
    module = discriminator(ProjectionDCGANDiscriminator, normalization="none")
    module(torch.randn(4, 1, 28, 28), LABELS).sum().backward()
    assert rows_with_gradient(module.head.embedding.weight) == [0, 1, 2]


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_the_auxiliary_classifier_speaks_beside_the_logits(network) -> None:
    judged = discriminator(network, auxiliary_classifier=True)(torch.randn(4, 1, 28, 28), LABELS)
    assert isinstance(judged, Judgement)
    assert judged.logits.shape == (4,)
    assert judged.class_logits.shape == (4, 4)


@pytest.mark.parametrize("condition", ["batch_norm", "embedding"])
@pytest.mark.parametrize("network", GENERATORS)
def test_a_reset_begins_afresh(network, condition) -> None:
    module = network(28, 1, n_classes=50, latent_dim=20, width=2, condition=condition)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7.0)
    module.reset_parameters()
    assert not any((parameter == 7).any() for parameter in module.parameters())
    if condition == "embedding":
        assert module.embedding.weight.std().item() == pytest.approx(1, abs=0.1)


def test_the_widths_are_those_without_classes() -> None:
    plain, conditional = DCGANGenerator(64, 3, 100, 8), ConditionalDCGANGenerator(64, 3, 10, 100, 8)
    convolutions = [
        [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.ConvTranspose2d | nn.Linear)]
        for network in (plain, conditional)
    ]
    assert convolutions[0] == convolutions[1]


@pytest.mark.parametrize("network", GENERATORS)
def test_an_unknown_condition_is_the_users_mistake(network) -> None:
    with pytest.raises(UserError, match="found condition 'film', expected batch_norm or embedding"):
        generator(network, "film")


@pytest.mark.parametrize("network", [*GENERATORS, *DISCRIMINATORS])
def test_there_is_at_least_one_class(network) -> None:
    with pytest.raises(UserError, match="found n_classes 0, expected 1 or more"):
        network(28, 1, n_classes=0)
