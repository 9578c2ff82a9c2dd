"""Re-initialisation changes every selected weight and nothing else, under spectral norm too, on a fresh run alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from tiny_models import FAMILIES, changed, conditional_gan, gan, seeded, snapshot, train
from tiny_networks import NETWORKS, made
from torch import nn

from lit_gen.callbacks.reinit_modules import Initializer, ReinitModules
from lit_gen.errors import UserError
from lit_gen.selection import matches_any


def moved(model: nn.Module) -> nn.Module:
    """Every parameter and every floating buffer moved, as by training: none is as it begins."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) + 0.5)
            else:
                tensor.add_(1)
    return model


def reinit(model: nn.Module, callback: ReinitModules, rows: list[int] | None = None) -> set[str]:
    """What the callback changes."""
    before = snapshot(model)
    with torch.no_grad():
        callback.reinit(model, None if rows is None else torch.tensor(rows))
    return changed(model, before)


@pytest.mark.parametrize("part", ["", ".head", ".blocks.[0-1]"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_selected_tensor_changes_and_nothing_else(network, part: str) -> None:
    role, model = made(network)
    callback = ReinitModules([f"{role}{part}"])
    found = reinit(moved(model), callback)
    expected = {name for name in snapshot(model) if matches_any(name, callback.modules)}
    assert found == expected == callback.selected(model)


@pytest.mark.parametrize("initializer", get_args(Initializer))
@pytest.mark.parametrize("family", ["gan", "gan spectral", "conditional gan", "vae"])
def test_a_named_initializer_reaches_all_kinds_of_layers(family: str, initializer: str) -> None:
    model = moved(FAMILIES[family]())
    networks = ["encoder", "decoder"] if family == "vae" else ["generator", "discriminator.head"]
    callback = ReinitModules(networks, initializer)
    assert reinit(model.to(memory_format=torch.channels_last), callback) == callback.selected(model)
    weight = (model.decoder if family == "vae" else model.generator).head.weight
    if initializer == "normal":
        assert weight.std().item() == pytest.approx(0.02, rel=0.5)
    if initializer == "orthogonal":
        rows = weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("initializer", [None, "xavier_uniform"])
def test_the_singular_vectors_follow(initializer: str | None) -> None:
    model = moved(gan("spectral"))
    reinit(model, ReinitModules(["discriminator.blocks.1", "discriminator.head"], initializer))
    model.discriminator.eval()
    for layer in (model.discriminator.blocks[1][0], model.discriminator.head):
        greatest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert greatest == pytest.approx(1, abs=0.05)


def test_a_parameter_alone() -> None:
    model = moved(gan())
    assert reinit(model, ReinitModules(["generator.blocks.1.1.weight"])) == {"generator.blocks.1.1.weight"}
    assert reinit(model, ReinitModules(["generator.head.bias"], "orthogonal")) == {"generator.head.bias"}


def test_only_the_rows_of_some_classes() -> None:
    model = moved(conditional_gan())
    callback = ReinitModules(["generator", "discriminator"], classes=[0, 2])
    before, found = snapshot(model), reinit(model, callback, rows=[0, 2])
    after = snapshot(model)
    tables = {name for name in found if not name.endswith(("_u", "_v"))}
    assert found == callback.selected(model)
    assert {name.rpartition(".")[2] for name in tables} == {"gain", "bias", "original"}
    for name in tables:
        assert torch.equal(after[name][1], before[name][1])
        assert not (after[name][[0, 2]] == before[name][[0, 2]]).any()
    table = model.discriminator.eval().head.embedding
    assert torch.linalg.matrix_norm(table.weight, ord=2).item() == pytest.approx(1, abs=0.05)


def test_classes_by_name() -> None:
    callback, model = ReinitModules(["generator"], classes=["dog", 0]), moved(conditional_gan())
    before = snapshot(model)
    data = SimpleNamespace(class_names=["bird", "cat", "dog"], image_shape=(1, 28, 28))
    model._trainer = trainer = SimpleNamespace(
        ckpt_path=None, datamodule=data, strategy=SimpleNamespace(broadcast=lambda value: value)
    )
    callback.on_fit_start(trainer, model)
    gain = "generator.blocks.0.norm.gain"
    assert (snapshot(model)[gain] != before[gain]).all(1).tolist() == [True, False, True]
    with pytest.raises(UserError, match="found label 'dgo'.*expected 0 to 2 or one of bird, cat, dog"):
        ReinitModules(["generator"], classes=["dgo"]).on_fit_start(trainer, model)


def test_it_leaves_the_random_stream_alone_and_alike_layers_are_no_twins() -> None:
    models = [seeded(gan) for _ in range(3)]
    train(models[0], 16)
    train(models[1], 16, [ReinitModules(["generator.head"])])
    train(models[2], 16, [ReinitModules(["generator.head"])])
    assert not changed(models[1], snapshot(models[2]))
    one, other = seeded(FAMILIES["cyclegan"]), snapshot(seeded(FAMILIES["cyclegan"]))
    model = one
    model._trainer = trainer = SimpleNamespace(
        ckpt_path=None, datamodule=None, strategy=SimpleNamespace(broadcast=lambda value: value)
    )
    state = torch.get_rng_state()
    for name in ("generator_ab", "generator_ba"):
        ReinitModules([name]).on_fit_start(trainer, model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(model.generator_ab.head.weight, model.generator_ba.head.weight)
    assert not torch.equal(model.generator_ab.head.weight, other["generator_ab.head.weight"])


def test_a_resumed_run_is_left_alone(tmp_path: Path) -> None:
    whole, half, resumed = (seeded(gan) for _ in range(3))
    train(whole, 64, [ReinitModules(["generator"])])
    train(half, 32, [ReinitModules(["generator"])], save=tmp_path / "half.ckpt")
    train(resumed, 64, [ReinitModules(["generator"])], resume=tmp_path / "half.ckpt")
    assert not changed(resumed, snapshot(whole))


def test_what_is_selected_is_known_without_memory() -> None:
    with torch.device("meta"):
        model = gan("spectral")
    name = "discriminator.head.parametrizations.weight"
    found = ReinitModules(["discriminator.head"]).selected(model)
    assert found == {f"{name}.original", f"{name}.0._u", f"{name}.0._v", "discriminator.head.bias"}


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (gan, {"modules": []}, "modules is an empty list"),
        (gan, {"modules": ["generator.hed"]}, 'nothing matches "generator.hed". Did you mean "generator.head"'),
        (gan, {"modules": ["generator.blocks.0.3"]}, "nothing to initialise in generator.blocks.0.3"),
        (gan, {"modules": ["generator"], "classes": [0]}, "expected a class table"),
        (lambda: nn.ModuleDict({"plain": nn.Linear(1, 1)}), {"modules": ["plain"]}, "no network that knows how"),
    ],
)
def test_mistakes_are_told(make, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReinitModules(**options).setup(None, make(), "fit")
