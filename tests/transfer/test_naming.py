"""Names without wrappers: what a plain checkpoint and a wrapped network call the same weight."""

from __future__ import annotations

import pytest
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.low_rank import LowRank
from lit_gen.networks.miner import Miner
from lit_gen.networks.resnet import ResNetDiscriminator
from lit_gen.networks.scale_and_shift import ScaleAndShift
from lit_gen.networks.vae import ConvEncoder
from lit_gen.networks.vae_mlp import MLPDecoder
from lit_gen.transfer.naming import canonical_names

NETWORKS = {
    "generator": lambda: DCGANGenerator(28, 1, 4, 2),
    "conditional generator": lambda: ConditionalDCGANGenerator(28, 1, 3, 4, 2),
    "spectral": lambda: DCGANDiscriminator(28, 1, 2, "spectral"),
    "projection": lambda: ProjectionDCGANDiscriminator(28, 1, 3, 2, normalization="spectral"),
    "residual": lambda: ResNetDiscriminator(28, 1, 2),
    "encoder": lambda: ConvEncoder(28, 1, 4, 2, n_classes=3),
    "decoder": lambda: MLPDecoder(28, 1, 4, [3], n_classes=3),
}
WRAPPERS = {
    "ScaleAndShift": ScaleAndShift,
    "LowRank": LowRank,
    "LowRank of the head": lambda network: LowRank(network, layers=["head"]),
    "Miner": Miner,
    "two": lambda network: LowRank(ScaleAndShift(network)),
    "two, the other way round": lambda network: ScaleAndShift(LowRank(network)),
    "two of a kind": lambda network: ScaleAndShift(ScaleAndShift(network)),
    "three": lambda network: ScaleAndShift(Miner(LowRank(network))),
}


# What begins with latents can be mined as well.
MINED = {"Miner": ("generator", "conditional generator", "decoder"), "three": ("generator", "decoder")}
CASES = [(wrapper, network) for wrapper in WRAPPERS for network in MINED.get(wrapper, NETWORKS)]


def keys_of(network: nn.Module) -> set[str]:
    return set(nn.ModuleDict({"part": network, "part_ema": network}).state_dict())


@pytest.mark.parametrize(("wrapper", "network"), CASES)
def test_a_wrapped_network_has_the_names_of_the_plain_one(wrapper: str, network: str) -> None:
    plain = keys_of(NETWORKS[network]())
    wrapped = WRAPPERS[wrapper](NETWORKS[network]())
    modules = nn.ModuleDict({"part": wrapped, "part_ema": wrapped}).named_modules(remove_duplicate=False)
    adapters = {f"{n}.{key}" for n, m in modules if getattr(m, "adapter", False) for key in m.state_dict()}
    names = canonical_names(keys_of(wrapped))
    assert set(names.values()) == plain | adapters
    assert {key for key, name in names.items() if key == name} == adapters
    assert adapters


@pytest.mark.parametrize("network", NETWORKS)
def test_plain_names_stay(network: str) -> None:
    names = canonical_names(keys_of(NETWORKS[network]()))
    assert all(key == name for key, name in names.items())


def test_by_hand() -> None:
    stem = "generator.network.blocks.0.0.parametrizations.weight"
    names = canonical_names([f"{stem}.original", f"{stem}.0.up", f"{stem}.0.down", "generator.network.head.bias"])
    assert names == {
        f"{stem}.original": "generator.blocks.0.0.weight",
        f"{stem}.0.up": f"{stem}.0.up",
        f"{stem}.0.down": f"{stem}.0.down",
        "generator.network.head.bias": "generator.head.bias",
    }
    before_spectral_norm = canonical_names([f"{stem}.original", f"{stem}.0.up", f"{stem}.0.down", f"{stem}.1._u"])
    assert before_spectral_norm[f"{stem}.original"] == "generator.blocks.0.0.parametrizations.weight.original"
    assert before_spectral_norm[f"{stem}.1._u"] == "generator.blocks.0.0.parametrizations.weight.0._u"


def test_what_is_called_network_but_wraps_nothing_keeps_its_name() -> None:
    for keys in (
        ["network.blocks.0.weight", "network.head.weight"],  # a model whose part is called so
        ["generator.network.0.weight"],  # no network of the rooms: it has no blocks
        ["generator.blocks.0.weight", "generator.network.blocks.0.weight"],  # a network inside a network
        ["generator.blocks.0.network.blocks.0.weight"],  # not directly below a part
        ["part.weight.0.up", "part.weight.0.down", "part.weight.original"],
        ["part.parametrizations.weight.original", "part.parametrizations.weight.0.up"],
    ):
        assert canonical_names(keys) == {key: key for key in keys}


def test_two_weights_of_one_name_are_refused() -> None:
    keys = ["part.network.blocks.0.weight", "part.network.miner.weight", "part.miner.weight"]
    with pytest.raises(UserError, match=r"part.network.miner.weight and part.miner.weight, both of which(.|\n)*Rename"):
        canonical_names(keys)
