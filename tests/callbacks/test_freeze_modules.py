"""Frozen is bit-identical, buffers included, as long as it is meant to last and no longer."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from tiny_models import BATCH, FAMILIES, changed, cyclegan, gan, seeded, snapshot, train, vae

from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.freeze_modules import FreezeModules
from lit_gen.errors import UserError
from lit_gen.losses.penalties import R1
from lit_gen.selection import matches_any

pytestmark = pytest.mark.filterwarnings("ignore:.*in eval mode at the start")
# Of each family what is frozen: blocks with batch statistics, spectral norm, tables of classes, a whole network.
FROZEN = {
    "gan": ["discriminator.blocks.[1-2]", "generator.blocks"],
    "gan spectral": ["discriminator.blocks.[0-1]", "discriminator.head", "generator.blocks.1"],
    "conditional gan": ["generator.blocks.*", "discriminator.blocks"],
    "cyclegan": ["generator_ab", "discriminator_b.blocks.0"],
    "vae": ["encoder", "decoder.blocks.0"],
}


class Watch(Callback):
    """What requires gradients and what is in train mode while each batch is learnt from, by images seen."""

    def __init__(self) -> None:
        self.learning: dict[int, set[str]] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        parameters = {name for name, parameter in pl_module.named_parameters() if parameter.requires_grad}
        modules = {name for name, module in pl_module.named_modules() if module.training}
        self.learning[pl_module.images_seen - BATCH] = parameters | modules


@pytest.mark.parametrize("family", FROZEN)
def test_frozen_is_bit_identical_and_all_else_moves(family: str) -> None:
    free = seeded(FAMILIES[family])
    before = snapshot(free)
    train(free, 64, validate=True)
    moves = changed(free, before)
    model = seeded(FAMILIES[family])
    train(model, 64, [FreezeModules(FROZEN[family])], validate=True)
    frozen = {name for name in before if matches_any(name, FROZEN[family])}
    assert frozen & moves  # they would have
    assert changed(model, before) == moves - frozen


def test_buffers_and_parameters_are_among_what_would_have_moved() -> None:
    kinds = {"running_mean": "gan", "num_batches_tracked": "gan", "_u": "gan spectral", "gain": "conditional gan"}
    for kind, family in kinds.items():
        model = seeded(FAMILIES[family])
        before = snapshot(model)
        train(model, 16)
        moved = {name for name in changed(model, before) if name.endswith(kind)}
        assert {name for name in moved if matches_any(name, FROZEN[family])}, kind


def test_a_parameter_is_frozen_alone_and_an_excluded_one_is_free() -> None:
    model = seeded(gan)
    before = snapshot(model)
    train(model, 32, [FreezeModules(["generator.blocks.0.0.weight", "generator.blocks.1"], ["generator.blocks.1.1"])])
    still = before.keys() - changed(model, before)
    assert still == {"generator.blocks.0.0.weight", "generator.blocks.1.0.weight"}


@pytest.mark.parametrize("make", [gan, lambda: gan("spectral", penalties=[R1(gamma=1.0, every=1)]), cyclegan])
@pytest.mark.parametrize(("frozen", "other"), [("generator*", "discriminator*"), ("discriminator*", "generator*")])
def test_one_player_wholly_frozen(make, frozen: str, other: str) -> None:
    model = seeded(make)
    before = snapshot(model)
    trainer = train(model, 32, [FreezeModules([frozen])])
    assert trainer.global_step == 4  # a loss scaler cannot step without a gradient, and so that optimizer does not
    moved = changed(model, before)
    assert not {name for name in moved if matches_any(name, [frozen])}
    weights = {name for name, _ in model.named_parameters() if matches_any(name, [other])}
    assert weights <= moved


def test_ema_of_what_is_frozen_stays_with_it() -> None:
    model = seeded(gan)
    before = snapshot(model)
    train(model, 64, [EMA(half_life=20, ramp_up=None), FreezeModules(["generator.blocks"])])
    after = snapshot(model)
    for name, value in before.items():
        if name.startswith("generator.blocks"):
            assert torch.equal(after[name.replace("generator.", "generator_ema.")], value), name
    assert not torch.equal(after["generator_ema.head.weight"], before["generator.head.weight"])


@pytest.mark.parametrize("order", [1, -1])
def test_until_lets_it_learn_and_another_still_holds_its_share(order: int) -> None:
    model, watch = seeded(gan), Watch()
    callbacks = [
        FreezeModules(["generator.blocks.[0-1]"], until=16),
        FreezeModules(["generator.blocks.1"], until=40),
        FreezeModules(["generator.blocks.1.0"]),
    ][::order]
    train(model, 64, [*callbacks, watch], validate=True)
    for seen, learning in watch.learning.items():
        assert ("generator.blocks.0.0.weight" in learning) == (seen >= 16), seen
        assert ("generator.blocks.0.2" in learning) == (seen >= 16), seen  # batch statistics
        assert ("generator.blocks.1.1.weight" in learning) == (seen >= 40), seen
        assert "generator.blocks.1.0.weight" not in learning
    assert set(watch.learning) == set(range(0, 64, BATCH))


def test_what_was_built_frozen_stays_frozen_and_all_else_is_put_back() -> None:
    model, watch = seeded(gan), Watch()
    model.discriminator.blocks[0].requires_grad_(False).eval()
    train(model, 32, [FreezeModules(["discriminator.blocks"], until=16), watch])
    assert "discriminator.blocks.1.0.weight" in watch.learning[24]
    assert not {name for name in watch.learning[24] if name.startswith("discriminator.blocks.0")}
    train(model, 48, [FreezeModules(["generator"])])
    assert all(module.training for module in model.generator.modules())
    assert all(parameter.requires_grad for parameter in model.generator.parameters())
    assert not any(parameter.requires_grad for parameter in model.discriminator.blocks[0].parameters())


@pytest.mark.parametrize(
    ("family", "until"),
    [("gan", 48), ("gan", 64), ("gan", 80), *((name, 80) for name in FROZEN if name != "gan")],
)
def test_a_resumed_run_crosses_the_end_of_freezing_like_an_uninterrupted_one(
    family: str, until: int, tmp_path: Path
) -> None:
    def callbacks() -> list[Callback]:
        return [FreezeModules(FROZEN[family], until=until), EMA(half_life=50, modules=[ema])]

    ema = {"cyclegan": "generator_ab", "vae": "decoder"}.get(family, "generator")
    whole, half, resumed = (seeded(FAMILIES[family]) for _ in range(3))
    reference = train(whole, 128, callbacks())
    train(half, 64, callbacks(), save=tmp_path / "half.ckpt")
    trainer = train(resumed, 128, callbacks(), resume=tmp_path / "half.ckpt")
    assert not changed(resumed, snapshot(whole))
    for mine, theirs in zip(trainer.optimizers, reference.optimizers, strict=True):
        for key, state in theirs.state_dict()["state"].items():
            assert all(torch.equal(value, mine.state_dict()["state"][key][name]) for name, value in state.items())
    assert changed(whole, never_frozen(family, ema))  # freezing made a difference


@functools.cache
def never_frozen(family: str, ema: str) -> dict[str, torch.Tensor]:
    """What the family becomes in 128 images."""
    model = seeded(FAMILIES[family])
    train(model, 128, [EMA(half_life=50, modules=[ema])])
    return snapshot(model)


def test_everything_frozen_is_refused() -> None:
    with pytest.raises(UserError, match="everything that an optimizer trains is frozen"):
        train(gan(), 16, [FreezeModules(["generator"]), FreezeModules(["discriminator"], until=8)])
    with pytest.raises(UserError, match="everything"):
        train(vae(), 16, [FreezeModules(["*"])])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "neither modules nor a preset"),
        ({"modules": ["generator"], "until": 0}, "until is 0"),
        ({"modules": ["generator.block"]}, 'nothing matches "generator.block". Did you mean "generator.blocks"'),
        ({"modules": ["generator"], "exclude": ["generator.blocks.7"]}, 'exclude: nothing matches "generator.blocks.7'),
        ({"preset": "all-but-hed"}, 'no preset .*Did you mean "all-but-head"'),
        ({"preset": {"freezeD": 9}}, "found freezeD: 9, expected 1 to 3"),
        ({"preset": {"freezeD": 0}}, "found freezeD: 0, expected 1 to 3"),
        ({"preset": {"freezeE": 1}}, "no preset freezeE with a number"),
        ({"preset": "all-but-adapters"}, "no network of GAN has an adapter"),
    ],
)
def test_mistakes_are_told(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FreezeModules(**options).setup(None, gan(), "fit")


def test_from_the_command_line(fit) -> None:
    frozen = ["--trainer.callbacks+=FreezeModules", '--trainer.callbacks.preset={"freezeD": 2}']
    states = [
        torch.load(fit(*frozen, f"--model.max_images={images}") / "last.ckpt", weights_only=True)["state_dict"]
        for images in (16, 32)
    ]
    same = {name for name, value in states[0].items() if torch.equal(value, states[1][name])}
    parts = [".".join(name.split(".")[:3]) for name in same]
    assert set(parts) == {"discriminator.blocks.0", "discriminator.blocks.1"}
