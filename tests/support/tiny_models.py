"""Tiny models of every family, and a way to train them on fixed noise, step by step the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lit_gen.losses.penalties import R1
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.models.gan import GAN
from lit_gen.models.vae import VAE
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.translation import TranslationGenerator
from lit_gen.networks.vae import ConvDecoder, ConvEncoder

SIZE = {"image_size": 28, "channels": 1, "width": 2}
BATCH = 8
EPOCH = 32  # images; a run is stopped and gone on with between two of these


def gan(normalization: str = "batch", **options: Any) -> GAN:
    generator = DCGANGenerator(**SIZE, latent_dim=4)
    return GAN(generator, DCGANDiscriminator(**SIZE, normalization=normalization), **options)


def conditional_gan() -> ConditionalGAN:
    generator = ConditionalDCGANGenerator(**SIZE, latent_dim=4, n_classes=3)
    return ConditionalGAN(generator, ProjectionDCGANDiscriminator(**SIZE, n_classes=3))


def cyclegan() -> CycleGAN:
    generators = [TranslationGenerator(channels=1, width=2, n_blocks=1) for _ in "ab"]
    return CycleGAN(*generators, *(PatchDiscriminator(channels=1, width=2, n_layers=1) for _ in "ab"), pool_size=0)


def vae() -> VAE:
    return VAE(ConvEncoder(**SIZE, latent_dim=4), ConvDecoder(**SIZE, latent_dim=4), mixture_components=2)


FAMILIES: dict[str, Callable[[], LightningModule]] = {
    "gan": gan,
    "gan spectral": lambda: gan("spectral", penalties=[R1(gamma=1.0, every=2)]),
    "conditional gan": conditional_gan,
    "cyclegan": cyclegan,
    "vae": vae,
}


class Reseed(Callback):
    """The noise of a step is a function of the images seen: that of a resumed run is that of an uninterrupted one."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(pl_module.images_seen)


def loader(model: LightningModule) -> DataLoader:
    random = torch.Generator().manual_seed(1)
    side = 12 if isinstance(model, CycleGAN) else SIZE["image_size"]  # it takes any, and most of its time goes by them
    tensors = [torch.rand(EPOCH, 1, side, side, generator=random) * 2 - 1]
    if isinstance(model, ConditionalGAN):
        tensors.append(torch.arange(EPOCH) % 3)
    if isinstance(model, CycleGAN):
        tensors.append(torch.rand(EPOCH, 1, side, side, generator=random) * 2 - 1)
    return DataLoader(TensorDataset(*tensors), batch_size=BATCH)


def train(
    model: LightningModule,
    images: int,
    callbacks: Sequence[Callback] = (),
    save: Path | None = None,
    resume: Path | None = None,
    validate: bool = False,
) -> Trainer:
    """Trains up to so many images; `save` writes a checkpoint there at the end, `resume` goes on from one."""
    torch.manual_seed(0)
    model.max_images = images
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, callbacks=[*callbacks, Reseed()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=int(validate),
    )  # fmt: skip
    loaders = [loader(model)] * (2 if validate else 1)
    trainer.fit(model, *loaders, ckpt_path=resume, weights_only=True if resume else None)
    if save:
        trainer.save_checkpoint(save)
    return trainer


def snapshot(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers, the momentary as well as those that are saved."""
    return {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}


def changed(model: torch.nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of the parameters and buffers that are not bit for bit as before."""
    return {name for name, tensor in snapshot(model).items() if not torch.equal(tensor, before[name])}


def seeded(make: Callable[[], LightningModule]) -> LightningModule:
    """The model as seed 0 makes it."""
    torch.manual_seed(0)
    return make()
