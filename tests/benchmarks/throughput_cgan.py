"""Speed of the conditional GAN against a hand-written loop: throughput_cgan.py [--rounds 9] [--image_size 64]

By default networks, batch and optimizer are those of experiments/cgan_mnist5k.yaml, without R1: it comes in every 16th
batch, so that a median does not see it. Steps alternate batch by batch in one process, so that a noisy machine slows
both alike. Nothing is asserted: the numbers depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

import torch
from lightning.pytorch import Trainer
from throughput import WARM_UP, InTurns
from torch import Tensor, nn

from datamodules.mnist5k import Mnist5k
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.run_record import RunRecord
from lit_gen.callbacks.throughput import Throughput
from lit_gen.loggers import MetricsCSV
from lit_gen.losses.adversarial import NonSaturatingLoss
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator

ADAM_G = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.99), fused=True)
ADAM_D = partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.99), fused=True)
Networks = tuple[nn.Module, nn.Module]


def networks(image_size: int) -> Networks:
    torch.manual_seed(0)
    generator = ConditionalDCGANGenerator(image_size, 1, n_classes=10, latent_dim=16, width=32)
    return generator, ProjectionDCGANDiscriminator(image_size, 1, n_classes=10, width=32, normalization="none")


def by_hand(generator: nn.Module, discriminator: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """The same mathematics in a plain step: one fake for both updates, no gradients for D's weights in G's."""
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)
    optimizer_g, optimizer_d = ADAM_G(generator.parameters()), ADAM_D(discriminator.parameters())
    softplus = nn.functional.softplus

    def step(real: Tensor, labels: Tensor) -> None:
        fake = generator(torch.randn(len(real), generator.latent_dim), labels)
        loss_d = softplus(-discriminator(real, labels)).mean() + softplus(discriminator(fake.detach(), labels)).mean()
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)
        loss_g = softplus(-discriminator(fake, labels)).mean()
        optimizer_g.zero_grad()
        loss_g.backward()
        optimizer_g.step()
        discriminator.requires_grad_(True)

    return step


def endless(loader: object) -> Iterator[tuple[Tensor, Tensor]]:
    """A loader's batches, epoch after epoch."""
    while True:
        yield from loader


def in_turns(loader: object, size: int, batches: int, everything: bool) -> InTurns:
    """`ConditionalGAN` under the Trainer, with all that a run has by default or the step alone, in turns by hand."""
    step, data = by_hand(*networks(size)), endless(loader)
    turns = InTurns(lambda: step(*next(data)))
    with tempfile.TemporaryDirectory() as folder:
        defaults = [EMA(), RunRecord("benchmark", 0, "{}"), Throughput(), ImageProgressBar(), LastCheckpoint(10**9)]
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, max_steps=2 * (batches + WARM_UP), default_root_dir=folder,
            callbacks=[*(defaults if everything else []), turns], logger=[MetricsCSV(folder)] if everything else False,
            limit_val_batches=0, enable_checkpointing=everything, enable_progress_bar=everything,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(ConditionalGAN(*networks(size), NonSaturatingLoss(), ADAM_G, ADAM_D), loader)
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--image_size", type=int, default=28)
    arguments = parser.parse_args()
    size = arguments.image_size
    data = Mnist5k(image_size=size, batch_size=32, labels=True)
    data.prepare_data()
    data.setup()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; conditional DCGAN-{size}, width 32, batch 32")
    for what, everything in (("with everything on", True), ("the step alone under Lightning", False)):
        ratios = []
        # Where the weights happen to lie in memory moves a run by some per cent: several short ones tell more.
        for _ in range(arguments.rounds):
            turns = in_turns(data.train_dataloader(), size, arguments.batches, everything)
            ours, others = (statistics.median(seconds[WARM_UP:]) for seconds in (turns.ours, turns.others))
            print(f"    {1000 * ours:8.2f} ms ours, {1000 * others:8.2f} ms by hand   ({arguments.batches} batches)")
            ratios.append(ours / others)
        print(f"  {what}: {100 * (statistics.median(ratios) - 1):.1f} % more (bar: less than 5 %)")


if __name__ == "__main__":
    main()
