"""The presets on every network that there is, found by walking them, and on models of every family."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES
from tiny_networks import NETWORKS, ROLES, made
from torch import nn

from lit_gen.errors import UserError
from lit_gen.freezing import hold, preset_parts


def weights(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def below(model: nn.Module, *parents: str) -> set[str]:
    return {name for name in weights(model) if name.startswith(tuple(f"{parent}." for parent in parents))}


def test_there_are_networks_of_every_role() -> None:
    assert {made(network)[0] for network in NETWORKS} == {role.lower() for role in ROLES}


@pytest.mark.parametrize("network", NETWORKS)
def test_blocks_are_counted_from_the_input_on(network) -> None:
    role, model = made(network)
    if role == "encoder":
        pytest.raises(UserError, preset_parts, model, {"freezeG": 1}).match("has no generator, it has encoder")
        return
    preset = "freezeD" if role == "discriminator" else "freezeG"
    for n in range(1, len(model[role].blocks) + 1):
        frozen = preset_parts(model, {preset: n}) & weights(model)
        before = below(model, f"{role}.embedding", f"{role}.features")  # a frozen front stands before the blocks
        assert frozen == before | below(model, *(f"{role}.blocks.{i}" for i in range(n)))
    with pytest.raises(UserError, match=f"expected 1 to {len(model[role].blocks)}"):
        preset_parts(model, {preset: len(model[role].blocks) + 1})


@pytest.mark.parametrize("network", NETWORKS)
def test_all_but_head(network) -> None:
    role, model = made(network)
    parts = preset_parts(model, "all-but-head")
    assert parts & weights(model) == weights(model) - below(model, f"{role}.head")
    assert {name for name, _ in model.named_buffers()} & parts or not list(model.buffers()) or "Res" in network.__name__


@pytest.mark.parametrize("network", NETWORKS)
def test_batch_statistics_only_or_a_word_why_not(network) -> None:
    role, model = made(network)
    scales = {
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if "Norm" in type(module).__name__ and "Spectral" not in type(module).__name__
        for parameter, _ in module.named_parameters()
    }
    if role in ("generator", "decoder") and scales:
        parts = preset_parts(model, "batch-statistics-only")
        assert parts & weights(model) == weights(model) - scales
        assert not {name for name, _ in model.named_buffers() if "running" in name} & parts
    else:
        with pytest.raises(UserError, match="no normalisation with a scale or shift|has no generator"):
            preset_parts(model, "batch-statistics-only")


def test_all_but_adapters() -> None:
    class Adapter(nn.Linear):
        adapter = True

    model = nn.ModuleDict(
        {"generator": nn.Sequential(nn.Linear(1, 1), Adapter(1, 1)), "discriminator": nn.Linear(1, 1)}
    )
    assert preset_parts(model, "all-but-adapters") & weights(model) == {"generator.0.weight", "generator.0.bias"}


@pytest.mark.parametrize("family", FAMILIES)
def test_both_of_a_cyclegan_and_whatever_else_a_model_has(family: str) -> None:
    model = FAMILIES[family]()
    frozen = preset_parts(model, {"freezeG": 1}) & weights(model)
    networks = {name.split(".")[0] for name in frozen}
    assert networks == {name for name, _ in model.named_children() if name.startswith(("generator", "decoder"))}
    if family == "vae":
        with pytest.raises(UserError, match="VAE has no discriminator, it has encoder, decoder"):
            preset_parts(model, {"freezeD": 1})
    else:
        both = preset_parts(model, {"freezeD": 1, "freezeG": 1}) & weights(model)
        assert {name.split(".")[0] for name in both} == {
            name for name, _ in model.named_children() if name.startswith(("generator", "discriminator"))
        }


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_neither_stale_gradients_nor_momentum_nor_weight_decay_move_what_is_frozen(optimizer) -> None:
    layer = nn.Linear(2, 2)
    momentum = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    steps = optimizer(layer.parameters(), lr=0.1, weight_decay=0.1, **momentum)
    for frozen in ((), {"weight"}, {"weight"}):
        before = layer.weight.detach().clone()
        hold({"": layer}, dict(layer.named_parameters()), frozen)
        if not frozen:
            layer(torch.ones(1, 2)).sum().backward()
        steps.step()
        assert torch.equal(layer.weight, before) == bool(frozen)
