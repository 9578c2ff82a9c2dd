"""Adapters around every network of the rooms: what holds at the start, what trains, and what merging leaves."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import Tensor, nn

import lit_gen.networks
from lit_gen.errors import UserError
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.features import NetworkFeatures
from lit_gen.networks.low_rank import LowRank
from lit_gen.networks.miner import Miner
from lit_gen.networks.minibatch_stddev import WithMinibatchStdDev
from lit_gen.networks.mlp import MLPGenerator
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.scale_and_shift import ScaleAndShift
from lit_gen.networks.vae import ConvEncoder

TINY = {"width": 3, "latent_dim": 5, "hidden": [6, 7], "n_blocks": 2, "n_layers": 1}
TINY |= {"image_size": 28, "input_size": 32, "channels": 1}
ROLES = ("Generator", "Discriminator", "Encoder", "Decoder")


def find_cases() -> dict[str, tuple[type[nn.Module], dict[str, object]]]:
    """Every network of the rooms; once for each normalisation, and with and without classes where both are there."""
    cases = {}
    for info in pkgutil.iter_modules(lit_gen.networks.__path__, "lit_gen.networks."):
        for name, item in vars(importlib.import_module(info.name)).items():
            if not (inspect.isclass(item) and item.__module__ == info.name and name.endswith(ROLES)):
                continue
            names = inspect.signature(item).parameters
            tiny = {key: value for key, value in TINY.items() if key in names}
            if "features" in names:
                tiny |= {"features": NetworkFeatures(DCGANDiscriminator(28, 1, 2)), "hidden": 6}
                tiny = {key: value for key, value in tiny.items() if key in names}
            variants: dict[str, dict[str, object]] = {"": {}}
            if "normalization" in names:
                variants = {f"-{value}": {"normalization": value} for value in ("none", "batch", "spectral")}
            if "condition" in names:
                variants = {f"-{value}": {"condition": value} for value in ("batch_norm", "embedding")}
            if "n_classes" in names and names["n_classes"].default is None:
                variants["-classes"] = {"n_classes": 4}
            cases |= {f"{name}{suffix}": (item, tiny | variant) for suffix, variant in variants.items()}
    return cases


CASES = find_cases()
WRAPPERS = {
    "ScaleAndShift": ScaleAndShift,
    "LowRank": lambda network: LowRank(network, rank=2),
    "Miner": Miner,
    "WithMinibatchStdDev": lambda network: WithMinibatchStdDev(network, group_size=2),
}


def make(case: str) -> nn.Module:
    return copy.deepcopy(made_once(case))


@functools.cache
def made_once(case: str) -> nn.Module:
    torch.manual_seed(0)
    network, arguments = CASES[case]
    made = network(**copy.deepcopy(arguments)).train()
    with torch.no_grad():
        inputs = feed(case, made)
        for _ in range(5):  # running statistics that do something
            made(*inputs)
    return made.eval()


def mines(case: str) -> bool:
    return case.split("-")[0].endswith("Decoder") or (
        case.split("-")[0].endswith("Generator") and "latent_dim" in inspect.signature(CASES[case][0]).parameters
    )


def feed(case: str, network: nn.Module) -> tuple[Tensor, ...]:
    """Inputs that fit: latents or images, and labels where there are classes."""
    torch.manual_seed(1)
    classes = getattr(network, "n_classes", None)
    labels = () if classes is None else (torch.arange(3) % classes,)
    first = torch.randn(3, network.latent_dim) if mines(case) else torch.rand(3, 1, 28, 28) * 2 - 1
    if case.startswith(("FeatureDiscriminator", "ProjectedDiscriminator")):
        first = network.features(first).detach()
    return first, *labels


def outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    made = network(*inputs)
    return torch.cat([part.flatten() for part in made]) if isinstance(made, tuple) else made


def adapters_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """What the class attribute `adapter` finds."""
    return {
        f"{name}.{own}": parameter
        for name, module in network.named_modules()
        if getattr(module, "adapter", False)
        for own, parameter in module.named_parameters()
    }


FITS = {"Miner": mines, "WithMinibatchStdDev": lambda case: case.split("-")[0].endswith("Discriminator")}
WRAPPED = [(w, c) for w in WRAPPERS for c in CASES if FITS.get(w, bool)(c)]


def test_the_rooms_are_covered() -> None:
    assert {"DCGANGenerator", "ConditionalResNetGenerator-batch_norm", "ConvEncoder-classes", "MLPDecoder"} <= set(
        CASES
    )
    assert {"DCGANDiscriminator-spectral", "PatchDiscriminator", "TranslationGenerator"} <= set(CASES)


@pytest.mark.parametrize(("wrapper", "case"), WRAPPED)
def test_at_the_start_nothing_changes(wrapper: str, case: str) -> None:
    plain = make(case)
    wrapped = WRAPPERS[wrapper](copy.deepcopy(plain)).eval()
    inputs = feed(case, plain)
    assert torch.equal(outputs(wrapped, inputs), outputs(plain, inputs))
    assert torch.equal(outputs(wrapped.train(), inputs), outputs(plain.train(), inputs))


@pytest.mark.parametrize(("wrapper", "case"), WRAPPED)
def test_adapters_alone_are_trained_and_change_the_outputs(wrapper: str, case: str) -> None:
    wrapped = WRAPPERS[wrapper](make(case)).eval()
    inputs = feed(case, wrapped)
    adapters = adapters_of(wrapped)
    inner = {name: value.clone() for name, value in wrapped.named_parameters() if name not in adapters}
    assert adapters
    assert inner
    for name, parameter in wrapped.named_parameters():
        parameter.requires_grad_(name in adapters)
    before = outputs(wrapped, inputs).detach()
    for step in (0.01, 0.003):  # what a zero hides gets its gradient in the second; no step undoes the other
        wrapped.zero_grad()
        outputs(wrapped, inputs).square().sum().backward()
        for parameter in adapters.values():
            assert parameter.grad is not None
            parameter.data -= step * parameter.grad.sign()
    assert all(parameter.grad.isfinite().all() for parameter in adapters.values())
    assert not torch.equal(outputs(wrapped, inputs), before)
    assert all(torch.equal(dict(wrapped.named_parameters())[name], value) for name, value in inner.items())


@pytest.mark.parametrize(("wrapper", "case"), WRAPPED)
def test_a_wrapper_looks_like_what_it_wraps(wrapper: str, case: str) -> None:
    plain = make(case)
    wrapped = WRAPPERS[wrapper](plain)
    assert wrapped.network is getattr(wrapped, wrapped.wraps) is plain
    for name in ("blocks", "head", "latent_dim", "n_classes", "image_size", "channels", "features"):
        assert hasattr(wrapped, name) == hasattr(plain, name)
        assert getattr(wrapped, name, None) is getattr(plain, name, None)
    assert not {name.split(".")[0] for name in wrapped.state_dict()} & {"blocks", "head"}  # registered once
    names = [name for name, _ in wrapped.named_parameters(remove_duplicate=False)]
    assert len(names) == len(list(wrapped.parameters()))


@pytest.mark.parametrize(("wrapper", "case"), WRAPPED)
def test_reset_reaches_the_inner_network_and_makes_the_adapters_silent(wrapper: str, case: str) -> None:
    wrapped = WRAPPERS[wrapper](make(case))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            parameter.fill_(7.0)
    wrapped.reset_parameters()
    left = [name for name, parameter in wrapped.named_parameters() if (parameter == 7).all()]
    assert all("features." in name for name in left)  # a frozen front stays as it was
    plain = make(case)
    plain.load_state_dict(plain_state(wrapped))
    inputs = feed(case, plain)
    assert torch.equal(outputs(wrapped.eval(), inputs), outputs(plain, inputs))


def plain_state(wrapped: nn.Module) -> dict[str, Tensor]:
    """The inner network's own tensors by their plain names."""
    from lit_gen.transfer.naming import canonical_names

    names = canonical_names(f"part.{key}" for key in wrapped.state_dict())
    adapters = {f"part.{key}" for key in adapters_of(wrapped)}
    return {
        names[f"part.{key}"].removeprefix("part."): value
        for key, value in wrapped.state_dict().items()
        if f"part.{key}" not in adapters
    }


@pytest.mark.parametrize("case", CASES)
def test_merged_low_rank_gives_the_same_outputs_from_plain_weights(case: str) -> None:
    plain = make(case)
    wrapped = LowRank(copy.deepcopy(plain), rank=2, scale=0.5).eval()
    with torch.no_grad():
        for parameter in adapters_of(wrapped).values():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    inputs = feed(case, plain)
    before = outputs(wrapped, inputs)
    size = before.abs().max()  # some networks begin with tiny outputs
    assert (before - outputs(plain, inputs)).abs().max() > 1e-3 * size
    merged = wrapped.merge()
    assert type(merged) is type(plain)
    assert {k: v.shape for k, v in merged.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert (outputs(merged, inputs) - before).abs().max() < 1e-4 * size


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_copy_has_adapters_of_its_own(wrapper: str) -> None:
    """The moving average of a generator is such a copy."""
    case = "PatchDiscriminator" if wrapper == "WithMinibatchStdDev" else "DCGANGenerator"
    wrapped = WRAPPERS[wrapper](make(case)).eval()
    inputs = feed(case, wrapped)
    before = outputs(wrapped, inputs)
    copied = copy.deepcopy(wrapped)
    with torch.no_grad():
        for parameter in adapters_of(wrapped).values():
            parameter.add_(0.3)
    assert torch.equal(outputs(copied, inputs), before)
    assert not torch.equal(outputs(wrapped, inputs), before)


@pytest.mark.parametrize("case", ["DCGANGenerator", "DCGANDiscriminator-spectral"])
def test_merging_leaves_copies_as_they_are(case: str) -> None:
    wrapped = LowRank(make(case)).eval()
    inputs = feed(case, wrapped)
    copied = copy.deepcopy(wrapped)
    before = outputs(copied, inputs)
    assert type(wrapped.merge().head) is type(make(case).head) or case.endswith("spectral")
    assert torch.equal(outputs(copied, inputs), before)
    assert torch.allclose(outputs(copied.merge(), inputs), before, atol=1e-6)


def test_scale_and_shift_by_hand() -> None:
    wrapped = ScaleAndShift(MLPGenerator(4, 1, 3, [5])).eval()
    hidden = wrapped.blocks[0](torch.ones(2, 3))
    nn.init.constant_(wrapped.adapters[0].scale, 3.0)
    nn.init.constant_(wrapped.adapters[0].shift, 0.5)
    assert torch.allclose(wrapped.blocks[0](torch.ones(2, 3)), 3 * hidden + 0.5)


def test_miner_by_hand() -> None:
    miner = Miner(MLPGenerator(4, 1, 3, [5]), hidden=[4])
    nn.init.constant_(miner.miner[-1].bias, 2.0)
    z = torch.randn(2, 3)
    assert torch.equal(miner(z), miner.network(z + 2))


def test_the_rank_of_the_update_and_its_size() -> None:
    wrapped = LowRank(DCGANGenerator(28, 1, 8, 4), rank=3)
    layer = wrapped.blocks[1][0]  # 16 -> 8 maps, 3x3, transposed
    update = layer.parametrizations.weight[0]
    assert update.up.shape == (16, 3)
    assert update.down.shape == (3, 8 * 9)
    nn.init.normal_(update.up)
    change = layer.weight - layer.parametrizations.weight.original
    assert torch.linalg.matrix_rank(change.flatten(1)) == 3
    assert wrapped.head.parametrizations.weight[0].up.shape == (4, 3)
    assert LowRank(MLPGenerator(4, 1, 2, [5]), rank=9).head.parametrizations.weight[0].up.shape == (16, 5)


def test_spectral_norm_still_bounds_an_adapted_layer() -> None:
    torch.manual_seed(0)
    wrapped = LowRank(DCGANDiscriminator(28, 1, 4, "spectral"), rank=2)
    for parameter in adapters_of(wrapped).values():
        nn.init.normal_(parameter)
    wrapped.train()
    for _ in range(50):
        wrapped(torch.zeros(1, 1, 28, 28))
    assert torch.linalg.matrix_norm(wrapped.blocks[1][0].weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)


def test_wrapping_does_not_move_singular_vectors() -> None:
    network = DCGANDiscriminator(28, 1, 4, "spectral").train()
    before = [buffer.clone() for buffer in network.buffers()]
    assert before
    assert all(torch.equal(one, other) for one, other in zip(LowRank(network).buffers(), before, strict=True))


def test_after_a_reset_singular_vectors_belong_to_the_new_weights() -> None:
    torch.manual_seed(0)
    wrapped = LowRank(DCGANDiscriminator(28, 1, 4, "spectral"), rank=2)
    for parameter in adapters_of(wrapped).values():
        nn.init.normal_(parameter)
    wrapped(torch.zeros(1, 1, 28, 28))
    wrapped.reset_parameters()
    for layer in (wrapped.blocks[1][0], wrapped.blocks[2][0]):
        largest = torch.linalg.matrix_norm(layer.eval().weight.flatten(1), ord=2).item()
        assert largest == pytest.approx(1, abs=0.1)


def test_layers_choose_what_is_adapted() -> None:
    wrapped = LowRank(DCGANGenerator(28, 1, 8, 4), layers=["blocks.[1-2]"])
    assert {name.split(".")[2] for name in adapters_of(wrapped)} == {"1", "2"}
    with pytest.raises(UserError, match='LowRank: nothing matches "block.1"'):
        LowRank(DCGANGenerator(28, 1, 8, 4), layers=["block.1"])


def test_a_frozen_front_is_left_as_it_is() -> None:
    network = PatchDiscriminator(1, 2, 1)
    network.features = nn.Conv2d(1, 1, 1)
    assert not [name for name in adapters_of(LowRank(network)) if "features" in name]
    assert hasattr(LowRank(PatchDiscriminator(1, 2, 1)), "features") is False


def test_wrappers_stack() -> None:
    network = make("ConditionalDCGANGenerator-batch_norm")
    inputs = feed("ConditionalDCGANGenerator-batch_norm", network)
    before = outputs(network, inputs)
    stacked = LowRank(Miner(ScaleAndShift(network))).eval()
    assert torch.equal(outputs(stacked, inputs), before)
    assert stacked.n_classes == 10
    assert not [name for name in adapters_of(stacked) if "miner" in name and "parametrizations" in name]


MISTAKES = {
    "rank of nothing": (lambda: LowRank(MLPGenerator(4, 1, 3, [5]), rank=0), "found rank 0, expected 1 or more"),
    "nothing to adapt": (lambda: LowRank(nn.Sequential(nn.ReLU())), "nothing to adapt in Sequential"),
    "nothing among the layers": (
        lambda: LowRank(DCGANGenerator(28, 1, 3, 2), layers=["blocks.0.2"]),
        "nothing to adapt(.|\n)*among layers blocks.0.2",
    ),
    "adapted twice": (lambda: LowRank(LowRank(MLPGenerator(4, 1, 3, [5]))), "adapted by another LowRank"),
    "no blocks": (lambda: ScaleAndShift(nn.Linear(2, 2)), "ScaleAndShift: Linear has no `blocks`"),
    "no last block": (lambda: WithMinibatchStdDev(nn.Linear(2, 2)), "WithMinibatchStdDev: Linear has no `blocks`"),
    "group of nothing": (lambda: WithMinibatchStdDev(PatchDiscriminator(1, 2, 1), 0), "found group_size 0, expected 1"),
    "merging deviations": (lambda: WithMinibatchStdDev(PatchDiscriminator(1, 2, 1)).merge(), "cannot be merged"),
    "no latents": (lambda: Miner(DCGANDiscriminator(28, 1, 2)), "no latent_dim"),
    "hidden width": (lambda: Miner(MLPGenerator(4, 1, 3, [5]), hidden=[4, 0]), r"found hidden\[1\] 0"),
    "no hidden layer": (lambda: Miner(MLPGenerator(4, 1, 3, [5]), hidden=[]), r"found len\(hidden\) 0"),
    "mining images": (lambda: Miner(ConvEncoder(28, 1, 4, 2))(torch.zeros(2, 1, 28, 28)), "expected latents"),
    "merging a miner": (lambda: Miner(MLPGenerator(4, 1, 3, [5])).merge(), "Miner cannot be merged"),
    "merging scales": (lambda: ScaleAndShift(MLPGenerator(4, 1, 3, [5])).merge(), "cannot be merged"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_answered(mistake: str) -> None:
    make_it, expected = MISTAKES[mistake]
    with pytest.raises(UserError, match=expected):
        make_it()


def test_blocks_that_do_not_say_their_channels() -> None:
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.ReLU()])
    with pytest.raises(UserError, match="how many channels"):
        ScaleAndShift(network)
