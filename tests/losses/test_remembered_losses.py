"""Losses that remember, and discriminators that see whole batches, in every family that has an adversarial loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from common import GAN_MNIST, TINY, newest_run
from families import Data, make, train
from lightning.pytorch import LightningModule
from tiny_models import Reseed

import lit_gen
from lit_gen.__main__ import main
from lit_gen.callbacks.load_weights import LoadWeights
from lit_gen.losses.adversarial import HingeLoss
from lit_gen.losses.lecam import LeCamLoss
from lit_gen.losses.top_k import TopKLoss
from lit_gen.networks.minibatch_stddev import WithMinibatchStdDev
from lit_gen.networks.patch import PatchDiscriminator

FAMILIES = ["gan", "conditional gan", "cyclegan"]


def plain(family: str, **options: Any) -> LightningModule:
    """CycleGAN's discriminators have patches, and a recipe that rebuilds them."""
    model = make(family, **options)
    if family == "cyclegan":
        model.discriminator_a, model.discriminator_b = (PatchDiscriminator(1, 2, n_layers=1) for _ in "ab")
    return model


def with_all(family: str) -> LightningModule:
    model = plain(family, loss=LeCamLoss(TopKLoss(HingeLoss(), anneal_images=30)))
    for name in ("discriminator", "discriminator_a", "discriminator_b"):
        if hasattr(model, name):
            setattr(model, name, WithMinibatchStdDev(getattr(model, name), group_size=2))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_and_its_two_halves_are_equal(family: str, tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"
    whole, second = with_all(family), with_all(family)
    train(whole, family, Reseed(), batches=3, max_epochs=2)
    train(with_all(family), family, Reseed(), batches=3).save_checkpoint(path)
    stored = torch.load(path, weights_only=True)["loss"]
    train(second, family, Reseed(), batches=3, max_epochs=2, ckpt_path=path)
    for (name, found), expected in zip(second.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(found, expected), name
    assert str(second.loss.state_dict()) == str(whole.loss.state_dict())
    assert second.loss.adversarial.images == 24
    if family == "cyclegan":  # two discriminators, and what was said by each
        assert not torch.equal(stored["a"]["averages"], stored["b"]["averages"])
        assert not torch.equal(whole.losses["a"].averages, whole.losses["b"].averages)
        assert stored["a"]["adversarial"] == stored["b"]["adversarial"] == {"images": 12}
    else:
        assert stored["adversarial"] == {"images": 12}


@pytest.mark.parametrize("family", FAMILIES)
def test_validation_and_tests_teach_a_loss_nothing(family: str) -> None:
    model = with_all(family)
    trainer = train(model, family, batches=2)
    before = str(model.loss.state_dict())
    assert trainer.validate(model, Data(family, batches=3).train_dataloader(), verbose=False)
    assert trainer.test(model, Data(family, batches=3).train_dataloader(), verbose=False)
    assert str(model.loss.state_dict()) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_alone_rebuilds_the_model(family: str, tmp_path: Path) -> None:
    train(with_all(family), family).save_checkpoint(tmp_path / "mine.ckpt")
    loaded = lit_gen.load(tmp_path / "mine.ckpt")
    assert type(loaded.loss.adversarial.adversarial) is HingeLoss
    assert loaded.loss.averages is not None
    network = loaded.discriminator_b if family == "cyclegan" else loaded.discriminator
    assert network.group_size == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_go_there_and_back_without_what_a_loss_remembers(family: str, tmp_path: Path) -> None:
    """From a plain model's checkpoint, and to one: only the deviation's own weights are left as they are built."""
    for source, model, exclude in (
        (plain(family), with_all(family), []),
        (with_all(family), plain(family), ["discriminator*.weighed"]),
    ):
        train(source, family).save_checkpoint(tmp_path / "source.ckpt")
        load = LoadWeights(str(tmp_path / "source.ckpt"), exclude=exclude)
        train(model, family, load, batches=0, max_epochs=0, default_root_dir=tmp_path / "run")
        expected = {name.replace(".network", ""): value for name, value in source.state_dict().items()}
        for name, value in model.state_dict().items():
            if "weighed" not in name:
                assert torch.equal(value, expected[name.replace(".network", "")]), name
        assert model.loss.state_dict().get("averages") is None


def test_plain_losses_leave_nothing_in_checkpoints(tmp_path: Path) -> None:
    for family in FAMILIES:
        train(plain(family), family).save_checkpoint(tmp_path / "mine.ckpt")
        assert "loss" not in torch.load(tmp_path / "mine.ckpt", weights_only=True)


def test_by_yaml_with_validation(tmp_path: Path) -> None:
    network = "{class_path: WithMinibatchStdDev, init_args: {network: {class_path: DCGANDiscriminator, init_args: "
    network += "{image_size: 28, channels: 1, width: 4, normalization: spectral}}}}"
    loss = "{class_path: LeCamLoss, init_args: {adversarial: {class_path: TopKLoss, init_args: {least: 0.75}}}}"
    options = [option for option in TINY if "discriminator" not in option]
    main(
        ["fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path}", *options]
        + [f"--model.discriminator={network}", f"--model.loss={loss}"]
    )
    stored = torch.load(newest_run(tmp_path) / "last.ckpt", weights_only=True)
    assert stored["loss"]["adversarial"] == {"images": 64}  # 64 trained on, 100s validated
    assert stored["loss"]["averages"].shape == (2, 1)
    assert "discriminator.weighed.weight" in stored["state_dict"]
