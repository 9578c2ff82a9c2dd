"""One tiny model of each family with data for it, to train in Python in a second."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader

from lit_gen.callbacks.cdc import CrossDomainConsistency
from lit_gen.callbacks.ewc import EWC
from lit_gen.callbacks.feature_distillation import FeatureDistillation
from lit_gen.callbacks.l2_sp import L2SP
from lit_gen.callbacks.source_regulariser import SourceRegulariser
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.models.gan import GAN
from lit_gen.models.vae import VAE
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.translation import TranslationGenerator
from lit_gen.networks.vae_mlp import MLPDecoder, MLPEncoder

FAMILIES = ("gan", "conditional gan", "vae", "cyclegan")
SGD = partial(torch.optim.SGD, lr=0.05)
# Of each family what makes images, and everything that has blocks.
MAKERS = {"vae": ["encoder", "decoder"]}
BLOCKS = {"vae": ["encoder.blocks", "decoder"], "gan": ["discriminator.blocks.[0-1]", "generator"]}


def make(family: str, **options: Any) -> LightningModule:
    """With everything that moves by itself: BatchNorm in generators, spectral norm in discriminators."""
    torch.manual_seed(0)
    two = {"generator_optimizer": SGD, "discriminator_optimizer": SGD, **options}
    size = {"image_size": 28, "channels": 1, "width": 2}
    if family == "gan":
        networks = DCGANGenerator(latent_dim=3, **size), DCGANDiscriminator(normalization="spectral", **size)
        return GAN(*networks, **two)
    if family == "conditional gan":
        generator = ConditionalDCGANGenerator(latent_dim=3, n_classes=2, **size)
        return ConditionalGAN(generator, ProjectionDCGANDiscriminator(n_classes=2, **size), **two)
    if family == "vae":
        shape = {"image_size": 28, "latent_dim": 3, "hidden": [5]}
        return VAE(MLPEncoder(**shape), MLPDecoder(**shape), **{"optimizer": partial(SGD, lr=1e-3), **options})
    generators = [TranslationGenerator(1, width=2, n_blocks=1) for _ in range(2)]
    return CycleGAN(*generators, *(normed(PatchDiscriminator(1, width=2, n_layers=1)) for _ in range(2)), **two)


def normed(network: nn.Module) -> nn.Module:
    """With spectral norm in all convolutions of its blocks."""
    for block in network.blocks:
        spectral_norm(block[0])
    return network


class Data(LightningDataModule):
    """Random images of 28x28 pixels, as the family's batches have them."""

    def __init__(self, family: str, batches: int, batch_size: int = 4) -> None:
        super().__init__()
        images = torch.rand(2, batches * batch_size, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1
        rows = {"cyclegan": list(zip(*images, strict=True))}
        rows["conditional gan"] = [(image, k % 2) for k, image in enumerate(images[0])]
        self.train_set = rows.get(family, [(image,) for image in images[0]])
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, batch_size=self.batch_size)


def train(
    model: LightningModule,
    family: str,
    *callbacks: Callback,
    batches: int = 1,
    batch_size: int = 4,
    ckpt_path: str | None = None,
    **options: Any,
) -> Trainer:
    """Trains from the same random stream each time."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    torch.manual_seed(1)
    trainer = Trainer(accelerator="cpu", **{"max_epochs": 1, **quiet, **options}, callbacks=list(callbacks))
    trainer.fit(model, datamodule=Data(family, batches, batch_size), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def all_four(family: str) -> list[SourceRegulariser]:
    """One regulariser towards the source of each kind, over all networks together."""
    makers = MAKERS.get(family, ["generator*"])
    return [
        L2SP(weight=1.0),
        EWC(weight=1.0, modules=makers, n_samples=2),
        CrossDomainConsistency(modules=[f"{name}.blocks" for name in makers[-1:]]),
        FeatureDistillation(modules=BLOCKS.get(family, ["generator*.blocks", "discriminator*"])),
    ]
