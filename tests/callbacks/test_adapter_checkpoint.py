"""adapters.ckpt: a few percent of a checkpoint, as good to load where its source is still what it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lit_gen
from lit_gen.__main__ import main
from lit_gen.callbacks.adapter_checkpoint import AdapterCheckpoint, adapter_keys
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.load_weights import LoadWeights
from lit_gen.errors import UserError
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.models.gan import GAN
from lit_gen.models.vae import VAE
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.low_rank import LowRank
from lit_gen.networks.miner import Miner
from lit_gen.networks.scale_and_shift import ScaleAndShift
from lit_gen.networks.vae_mlp import MLPDecoder, MLPEncoder

WRAPPERS = {
    "LowRank": lambda network: LowRank(network, rank=1),
    "ScaleAndShift": ScaleAndShift,
    "Miner": lambda network: Miner(network, hidden=[8]),
}


class OnlyAdapters(pl.Callback):
    """Everything in the generator but its adapters stands still, batch statistics included."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        adapters = adapter_keys(pl_module)
        for name, parameter in pl_module.generator.named_parameters(prefix="generator"):
            parameter.requires_grad_(name in adapters)
        for module in pl_module.generator.modules():
            module.train(getattr(module, "adapter", False))


def train(model: pl.LightningModule, folder: Path, *callbacks: pl.Callback, labels: int | None = None) -> Path:
    """Two batches of noise; the folder has last.ckpt."""
    torch.manual_seed(1)
    rows = [torch.rand(8, 1, 28, 28) * 2 - 1]
    if labels is not None:
        rows.append(torch.arange(8) % labels)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, LastCheckpoint()],
    )
    trainer.fit(model, DataLoader(TensorDataset(*rows), batch_size=4))
    return folder


def gan(wrap: Callable[[nn.Module], nn.Module] = lambda network: network, width: int = 32) -> GAN:
    torch.manual_seed(0)
    discriminator = DCGANDiscriminator(28, 1, 4, normalization="none")
    return GAN(wrap(DCGANGenerator(28, 1, 8, width)), discriminator)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain GAN with a moving average."""
    return train(gan(), tmp_path_factory.mktemp("source"), EMA(half_life=4, ramp_up=None)) / "last.ckpt"


def adapt(source: Path, folder: Path, *callbacks: pl.Callback, wrap: str = "LowRank", **options: Any) -> Path:
    average = EMA(half_life=4, ramp_up=None)
    given = LoadWeights(str(source)), *callbacks, average, AdapterCheckpoint(**options)
    return train(gan(WRAPPERS[wrap]), folder, *given)


def equal(one: Tensor, other: Tensor) -> bool:
    return bool(one.isfinite().all()) and torch.equal(one, other)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_it_is_small_and_makes_the_same_images(source: Path, tmp_path: Path, wrap: str) -> None:
    run = adapt(source, tmp_path, OnlyAdapters(), wrap=wrap)
    model = lit_gen.load(run / "adapters.ckpt")
    images = model.sample(16, seed=0)
    assert equal(images, lit_gen.load(run / "last.ckpt").sample(16, seed=0))
    assert not torch.equal(images, lit_gen.load(source).sample(16, seed=0))  # it did learn
    assert (run / "adapters.ckpt").stat().st_size < 0.05 * (run / "last.ckpt").stat().st_size
    assert sorted(path.name for path in run.iterdir() if "adapters" in path.name) == ["adapters.ckpt"]
    held = torch.load(run / "adapters.ckpt", weights_only=True)
    assert set(held["state_dict"]) == adapter_keys(model)
    assert held["images_seen"] == model.images_seen == 8
    assert held["lineage"][0]["sha256"] == held["base"][0]["sha256"]
    assert not {"optimizer_states", "callbacks", "loops"} & set(held)


def test_what_else_was_trained_is_stored_and_said(source: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="weights beside the adapters are not the source's"):
        run = adapt(source, tmp_path)
    images = lit_gen.load(run / "adapters.ckpt").sample(4, seed=0)
    assert equal(images, lit_gen.load(run / "last.ckpt").sample(4, seed=0))
    held = torch.load(run / "adapters.ckpt", weights_only=True)["state_dict"]
    assert any(name.endswith("running_mean") for name in held)
    assert not any(name.startswith("discriminator") for name in held)


def test_discriminators_come_from_the_source_or_are_kept(source: Path, tmp_path: Path) -> None:
    run = adapt(source, tmp_path / "a", OnlyAdapters())
    found = lit_gen.load(run / "adapters.ckpt").discriminator.head.weight
    assert torch.equal(found, lit_gen.load(source).discriminator.head.weight)
    assert not torch.equal(found, lit_gen.load(run / "last.ckpt").discriminator.head.weight)
    run = adapt(source, tmp_path / "b", OnlyAdapters(), exclude=[])
    found = lit_gen.load(run / "adapters.ckpt").discriminator.head.weight
    assert torch.equal(found, lit_gen.load(run / "last.ckpt").discriminator.head.weight)


def test_a_discriminator_that_the_source_lacks_is_left_untrained(source: Path, tmp_path: Path) -> None:
    model = gan(WRAPPERS["LowRank"])
    model.discriminator = DCGANDiscriminator(28, 1, 3, normalization="none")
    model._hparams = {}  # the recipe is read from the model as it is
    load = LoadWeights(str(source), include=["generator"])
    run = train(model, tmp_path, load, OnlyAdapters(), AdapterCheckpoint())
    held = torch.load(run / "adapters.ckpt", weights_only=True)
    assert held["left_out"]
    assert all(name.startswith("discriminator") for name in held["left_out"])
    images = lit_gen.load(run / "adapters.ckpt").sample(4, seed=0)
    assert equal(images, lit_gen.load(run / "last.ckpt").sample(4, seed=0))


def test_classes_and_renamed_sources(tmp_path: Path) -> None:
    """Content tells what is the source's, whatever it was called there."""

    def make(wrap: Callable[[nn.Module], nn.Module]) -> ConditionalGAN:
        torch.manual_seed(0)
        discriminator = ProjectionDCGANDiscriminator(28, 1, 3, 4, normalization="none")
        return ConditionalGAN(wrap(ConditionalDCGANGenerator(28, 1, 3, 8, 16)), discriminator)

    source = train(make(lambda network: network), tmp_path / "source", labels=3) / "last.ckpt"
    held = torch.load(source, weights_only=True)
    state = {key.replace("generator.", "G."): value for key, value in held["state_dict"].items()}
    torch.save(state, tmp_path / "foreign.pt")
    load = LoadWeights(str(tmp_path / "foreign.pt"), rename={"^G": "generator"})
    run = train(make(WRAPPERS["Miner"]), tmp_path / "run", load, OnlyAdapters(), AdapterCheckpoint(), labels=3)
    model = lit_gen.load(run / "adapters.ckpt")
    other = lit_gen.load(run / "last.ckpt")
    assert equal(model.sample(2, [2, 1], seed=0), other.sample(2, [2, 1], seed=0))
    assert set(torch.load(run / "adapters.ckpt", weights_only=True)["state_dict"]) == adapter_keys(model)


def test_a_vae_comes_back_with_an_encoder_that_was_trained(tmp_path: Path) -> None:
    def make(wrap: Callable[[nn.Module], nn.Module]) -> VAE:
        torch.manual_seed(0)
        return VAE(MLPEncoder(28, 1, 4, [16]), wrap(MLPDecoder(28, 1, 4, [16])))

    source = train(make(lambda network: network), tmp_path / "source") / "last.ckpt"
    with pytest.warns(UserWarning, match="such as encoder"):
        run = train(make(WRAPPERS["ScaleAndShift"]), tmp_path / "run", LoadWeights(str(source)), AdapterCheckpoint())
    one, other = lit_gen.load(run / "adapters.ckpt"), lit_gen.load(run / "last.ckpt")
    assert equal(one.sample(4, seed=0), other.sample(4, seed=0))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_the_source_is_looked_for_beside_it(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "somewhere" / "base.ckpt"
    moved.parent.mkdir()
    shutil.copy(source, moved)
    run = adapt(moved, tmp_path / "run", OnlyAdapters())
    moved.rename(run / "base.ckpt")
    assert lit_gen.load(run / "adapters.ckpt").sample(2, seed=0).isfinite().all()
    main(["predict", f"--ckpt_path={run / 'adapters.ckpt'}", "--n=2", f"--out={tmp_path / 'images'}"])
    assert (tmp_path / "images" / "000001.png").is_file()


def test_a_source_that_is_gone_or_another_is_named(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.ckpt"
    shutil.copy(source, base)
    run = adapt(base, tmp_path / "run", OnlyAdapters())
    held = torch.load(base, weights_only=True)
    held["state_dict"]["generator.head.bias"] += 1
    torch.save(held, base)
    with pytest.raises(
        UserError, match=r"base.ckpt  another file, sha256 \w+(.|\n)*missing(.|\n)*Put the file base.ckpt"
    ):
        lit_gen.load(run / "adapters.ckpt")
    base.unlink()
    with pytest.raises(UserError, match="base.ckpt  missing or unreadable"):
        lit_gen.load(run / "adapters.ckpt")


def test_a_checkpoint_that_does_not_fit_its_recipe(source: Path, tmp_path: Path) -> None:
    run = adapt(source, tmp_path, OnlyAdapters())
    held = torch.load(run / "adapters.ckpt", weights_only=True)
    del held["state_dict"]["generator.network.head.parametrizations.weight.0.up"]
    torch.save(held, run / "adapters.ckpt")
    with pytest.raises(UserError, match="does not fit its own recipe: generator.network.head"):
        lit_gen.load(run / "adapters.ckpt")


def test_without_a_source_or_adapters_it_refuses(source: Path) -> None:
    trainer = SimpleNamespace(callbacks=[EMA()])
    with pytest.raises(UserError, match="no LoadWeights is among the callbacks"):
        AdapterCheckpoint().on_train_start(trainer, gan(WRAPPERS["Miner"]))
    trainer.callbacks = [LoadWeights(str(source))]
    with pytest.raises(UserError, match="no network of this GAN has adapters"):
        AdapterCheckpoint().on_train_start(trainer, gan())
