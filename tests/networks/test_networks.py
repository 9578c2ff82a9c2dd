"""Every network of the rooms, found by walking them: the contracts that models, globs and recipes rely on."""

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import lit_gen.networks
from lit_gen.errors import UserError

TINY = {"width": 2, "latent_dim": 5, "hidden": [6, 7]}


def find_networks() -> list[type[nn.Module]]:
    """Public nn.Modules that the files of lit_gen.networks define and that make or judge images, by themselves.

    Those that are built around another network have tests of their own.
    """
    found = []
    for info in pkgutil.iter_modules(lit_gen.networks.__path__, "lit_gen.networks."):
        for name, item in vars(importlib.import_module(info.name)).items():
            is_ours = inspect.isclass(item) and issubclass(item, nn.Module) and item.__module__ == info.name
            if is_ours and name.endswith(("Generator", "Discriminator")) and not takes_a_network(item):
                found.append(item)
    return found


def takes_a_network(network: type[nn.Module]) -> bool:
    return any("Module" in str(p.annotation) for p in inspect.signature(network).parameters.values())


NETWORKS = find_networks()
# Those of images of one size, with labels or without; translators have tests of their own.
PLAIN = [c for c in NETWORKS if {"image_size", "channels"} <= set(inspect.signature(c).parameters)]


def sizes_of(network: type[nn.Module]) -> tuple[int, ...]:
    return getattr(inspect.getmodule(network), "SIZES", (28, 32, 64, 128))


def make(network: type[nn.Module], **arguments) -> nn.Module:
    """The network with tiny widths."""
    names = inspect.signature(network).parameters
    return network(**{key: value for key, value in TINY.items() if key in names} | arguments)


def feed(network: nn.Module, batch: int = 3) -> tuple[torch.Tensor, ...]:
    """Inputs that fit: latents for a generator, images for a discriminator, and labels where there are classes."""
    labels = (torch.arange(batch) % network.n_classes,) if hasattr(network, "n_classes") else ()
    if hasattr(network, "latent_dim"):
        return torch.randn(batch, network.latent_dim), *labels
    return torch.rand(batch, network.channels, network.image_size, network.image_size) * 2 - 1, *labels


CASES = [(c, size, channels) for c in PLAIN for size in sizes_of(c) for channels in (1, 3)]


def test_the_rooms_hold_networks():
    assert {"MLPGenerator", "DCGANDiscriminator", "ResNetGenerator"} <= {c.__name__ for c in PLAIN}


@pytest.mark.parametrize(("network", "size", "channels"), CASES)
def test_shapes_and_ranges(network, size, channels):
    module = make(network, image_size=size, channels=channels)
    out = module(*feed(module))
    if hasattr(module, "latent_dim"):
        assert out.shape == (3, channels, size, size)
        assert out.abs().max() <= 1
    else:
        assert out.shape == (3,)
    assert out.dtype == torch.float32


@pytest.mark.parametrize(("network", "size"), [(c, size) for c in PLAIN for size in sizes_of(c)])
def test_gradients_reach_every_parameter_through_blocks_and_head(network, size):
    module = make(network, image_size=size, channels=1)
    assert isinstance(module.blocks, nn.ModuleList)
    assert len(module.blocks) >= 2
    inside = [*module.blocks.parameters(), *module.head.parameters()]
    assert inside
    module(*feed(module)).square().sum().backward()
    silent = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not silent
    assert all(p.grad.abs().sum() > 0 for p in module.head.parameters())


@pytest.mark.parametrize("network", PLAIN)
def test_blocks_run_from_input_to_head(network):
    module = make(network)
    order = []
    for name, part in [*module.blocks.named_children(), ("head", module.head)]:
        part.register_forward_hook(lambda *_, name=name: order.append(name))
    module(*feed(module))
    assert order == [str(i) for i in range(len(module.blocks))] + ["head"]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_argument_is_kept_as_a_plain_attribute(network):
    module = make(network)
    recipe = {name: getattr(module, name) for name in inspect.signature(network).parameters}
    assert all(type(value) in (int, float, str, bool, list, type(None)) for value in recipe.values())
    again = network(**recipe)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}
    assert all(recipe[key] == value for key, value in TINY.items() if key in recipe)


@pytest.mark.parametrize("network", [c for c in PLAIN if hasattr(inspect.getmodule(c), "SIZES")])
@pytest.mark.parametrize("size", [0, 16, 48, 512])
def test_a_size_that_it_cannot_make_is_the_users_mistake(network, size):
    with pytest.raises(UserError) as error:
        make(network, image_size=size)
    message = str(error.value)
    assert f"found image_size {size}" in message
    assert "28, 32, 64, 128" in message
    assert "Type image_size: " in message


@pytest.mark.parametrize("network", PLAIN)
def test_channels_are_grey_or_rgb(network):
    with pytest.raises(UserError, match="found channels 2, expected 1 .grey. or 3 .RGB.(.|\n)*Type channels: 3"):
        make(network, channels=2)


@pytest.mark.parametrize(
    ("network", "name"), [(c, k) for c in PLAIN for k in TINY if k in inspect.signature(c).parameters]
)
def test_widths_are_positive(network, name):
    bad = [4, 0] if name == "hidden" else 0
    with pytest.raises(UserError, match=f"found {name}.* 0, expected 1 or more"):
        make(network, **{name: bad})


@pytest.mark.parametrize("network", PLAIN)
def test_reset_changes_every_weight_in_place(network):
    torch.manual_seed(0)
    module = make(network)
    same = dict(module.named_parameters())
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(7.0)
    module(*feed(module))  # moves the running statistics and the singular vectors
    module.reset_parameters()
    for name, p in module.named_parameters():
        assert p is same[name]
        assert not (p == 7).any(), name
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            assert (buffer == 0).all()


@pytest.mark.parametrize("network", PLAIN)
def test_a_part_alone_is_reset(network):
    torch.manual_seed(0)
    module = make(network)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.reset_parameters(module.head)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)


@pytest.mark.parametrize("network", PLAIN)
def test_a_seed_gives_the_same_weights(network):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(make(network).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
