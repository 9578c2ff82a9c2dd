"""Encoders and decoders of the VAE, found by walking the rooms: shapes, contracts, labels.

An encoder on features of another network has no image size of its own, and its tests in test_feature_networks.py.
"""

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import lit_gen.networks
from lit_gen.errors import UserError

TINY = {"width": 2, "latent_dim": 5, "hidden": [6, 7]}
SIZES = (28, 32, 64, 128)


def find(ending: str) -> list[type[nn.Module]]:
    found = []
    for info in pkgutil.iter_modules(lit_gen.networks.__path__, "lit_gen.networks."):
        for name, item in vars(importlib.import_module(info.name)).items():
            here = inspect.isclass(item) and item.__module__ == info.name and name.endswith(ending)
            if here and "image_size" in inspect.signature(item).parameters:
                found.append(item)
    return found


ENCODERS, DECODERS = find("Encoder"), find("Decoder")
NETWORKS = ENCODERS + DECODERS


def make(network: type[nn.Module], **arguments) -> nn.Module:
    names = inspect.signature(network).parameters
    return network(**{key: value for key, value in TINY.items() if key in names} | arguments)


def feed(module: nn.Module, batch: int = 3) -> tuple[torch.Tensor, ...]:
    size = (batch, module.channels, module.image_size, module.image_size)
    labels = () if module.n_classes is None else (torch.arange(batch) % module.n_classes,)
    x = torch.rand(size) * 2 - 1 if type(module) in ENCODERS else torch.randn(batch, module.latent_dim)
    return x, *labels


def out(module: nn.Module, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    found = module(*given)
    return torch.cat(found, 1) if isinstance(found, tuple) else found


def test_the_rooms_hold_both():
    assert {c.__name__ for c in NETWORKS} >= {"ConvEncoder", "ConvDecoder", "MLPEncoder", "MLPDecoder"}


@pytest.mark.parametrize("n_classes", [None, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes(size, channels, n_classes):
    for network in NETWORKS:
        module = make(network, image_size=size, channels=channels, n_classes=n_classes)
        found = module(*feed(module))
        if network in ENCODERS:
            assert [values.shape for values in found] == [(3, 5), (3, 5)]
        else:
            assert found.shape == (3, channels, size, size)


@pytest.mark.parametrize("n_classes", [None, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_reach_every_parameter_through_blocks_and_head(network, n_classes):
    module = make(network, n_classes=n_classes)
    assert isinstance(module.blocks, nn.ModuleList)
    order = []
    for name, part in [*module.blocks.named_children(), ("head", module.head)]:
        part.register_forward_hook(lambda *_, name=name: order.append(name))
    out(module, feed(module)).square().sum().backward()
    assert order == [str(i) for i in range(len(module.blocks))] + ["head"]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert all(p.grad.abs().sum() > 0 for p in module.head.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_labels_change_what_comes_out(network):
    torch.manual_seed(0)
    module = make(network, n_classes=2)
    x, labels = feed(module)
    assert not torch.allclose(out(module, (x, labels)), out(module, (x, 1 - labels)))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_decoder_may_leave_the_range_of_images(network):
    if network in DECODERS:
        module = make(network)
        nn.init.constant_(module.head.bias, 5.0)
        assert module(*feed(module)).max() > 1


@pytest.mark.parametrize("network", NETWORKS)
def test_activations_keep_their_size_and_heads_begin_quietly(network):
    torch.manual_seed(0)
    module = make(network, **({"hidden": [64, 64]} if "hidden" in TINY.keys() & _names(network) else {"width": 16}))
    sizes = []
    for block in module.blocks:
        block.register_forward_hook(lambda _, __, found: sizes.append(found.square().mean().sqrt().item()))
    found = out(module, feed(module, 64))
    assert 0.4 < sizes[-1] / sizes[0] < 2.5
    assert 0.01 < found.std() < 0.3


def _names(network: type[nn.Module]) -> set[str]:
    return set(inspect.signature(network).parameters)


@pytest.mark.parametrize("n_classes", [None, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_arguments_are_attributes_and_rebuild_it(network, n_classes):
    module = make(network, n_classes=n_classes)
    recipe = {name: getattr(module, name) for name in inspect.signature(network).parameters}
    assert all(type(value) in (int, float, str, bool, list, type(None)) for value in recipe.values())
    again = network(**recipe)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}


@pytest.mark.parametrize("network", NETWORKS)
def test_reset_changes_every_weight_in_place(network):
    torch.manual_seed(0)
    module = make(network, n_classes=3)
    same = dict(module.named_parameters())
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(7.0)
    module.reset_parameters(module.head)
    assert {name for name, p in same.items() if not (p == 7).any()} == {"head.weight", "head.bias"}
    module.reset_parameters()
    for name, p in module.named_parameters():
        assert p is same[name]
        assert not (p == 7).any(), name


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 2}, "found channels 2, expected 1"),
        ({"latent_dim": 0}, "found latent_dim 0, expected 1 or more"),
        ({"n_classes": 0}, "found n_classes 0, expected 1 or more"),
        ({"image_size": 0}, "found image_size 0"),
    ],
)
def test_mistakes_are_the_users(network, arguments, message):
    with pytest.raises(UserError, match=message):
        make(network, **arguments)


def test_hidden_layers_have_a_width():
    for network in NETWORKS:
        if "hidden" in _names(network):
            for hidden in ([], [4, 0]):
                with pytest.raises(UserError, match="hidden"):
                    make(network, hidden=hidden)
