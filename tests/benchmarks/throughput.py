"""Speed against hand-written loops: python tests/benchmarks/throughput.py [--only step|overhead|help|memory_map]

Steps alternate batch by batch in one process, so that a noisy machine slows both alike; medians and ratios. Nothing is
asserted: the numbers depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

import memory_map
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from datamodules.mnist5k import Mnist5k
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.run_record import RunRecord
from lit_gen.callbacks.throughput import Throughput
from lit_gen.loggers import MetricsCSV
from lit_gen.losses.adversarial import NonSaturatingLoss
from lit_gen.models.gan import GAN
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.mlp import MLPDiscriminator, MLPGenerator

ADAM = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))
WARM_UP = 3  # batches before the clock starts
Networks = tuple[nn.Module, nn.Module]


class InTurns(Callback):
    """After each batch of the Trainer, one step of the other loop; the seconds of both, without the warm-up.

    A batch of the Trainer lasts from the end of the other's step to here: fetching, hooks, callbacks, logging and all.
    """

    def __init__(self, other: Callable[[], None]) -> None:
        self.other = other
        self.ours: list[float] = []
        self.others: list[float] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        ended = time.perf_counter()
        self.ours.append(ended - self.began)
        self.other()
        self.began = time.perf_counter()
        self.others.append(self.began - ended)


class Fixed(torch.utils.data.IterableDataset):
    """The same batch again and again: no data path, so that only the step is measured."""

    def __init__(self, images: Tensor, batches: int) -> None:
        self.images, self.batches = images, batches

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        return iter([(self.images,)] * self.batches)


def in_turns(networks: Networks, loader: object, batches: int, other: Callable[[], None], everything: bool) -> InTurns:
    """`GAN` under the Trainer, with all that a run has by default or the step alone, in turns with another step."""
    model = GAN(*networks, NonSaturatingLoss(), ADAM, ADAM)
    turns = InTurns(other)
    with tempfile.TemporaryDirectory() as folder:
        defaults = [EMA(), RunRecord("benchmark", 0, "{}"), Throughput(), ImageProgressBar(), LastCheckpoint(10**9)]
        extras = defaults if everything else []
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, max_steps=2 * (batches + WARM_UP), default_root_dir=folder,
            callbacks=[*extras, turns], logger=[MetricsCSV(folder)] if everything else False, limit_val_batches=0,
            enable_checkpointing=everything, enable_progress_bar=everything, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, loader)
    turns.ours, turns.others = turns.ours[WARM_UP:], turns.others[WARM_UP:]
    return turns


def by_hand(networks: Networks) -> Callable[[Tensor], None]:
    """The same mathematics in a plain step: one fake for both updates, no gradients for D's weights in G's."""
    generator, discriminator = (network.to(memory_format=torch.channels_last) for network in networks)
    optimizer_g, optimizer_d = ADAM(generator.parameters()), ADAM(discriminator.parameters())
    softplus = nn.functional.softplus

    def step(real: Tensor) -> None:
        fake = generator(torch.randn(len(real), generator.latent_dim))
        loss_d = softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)
        loss_g = softplus(-discriminator(fake)).mean()
        optimizer_g.zero_grad()
        loss_g.backward()
        optimizer_g.step()
        discriminator.requires_grad_(True)

    return step


def by_tutorial(networks: Networks) -> Callable[[Tensor], None]:
    """PyTorch's DCGAN tutorial, its order of work: two D backwards, gradients into D in G's step, .item() each step."""
    generator, discriminator = networks
    optimizer_g, optimizer_d = ADAM(generator.parameters()), ADAM(discriminator.parameters())
    criterion = nn.BCEWithLogitsLoss()

    def step(real: Tensor) -> None:
        discriminator.zero_grad()
        label = torch.full((len(real),), 1.0)
        output = discriminator(real)
        error_real = criterion(output, label)
        error_real.backward()
        seen = [output.mean().item()]
        fake = generator(torch.randn(len(real), generator.latent_dim))
        label.fill_(0.0)
        output = discriminator(fake.detach())
        error_fake = criterion(output, label)
        error_fake.backward()
        seen += [output.mean().item(), (error_real + error_fake).item()]
        optimizer_d.step()
        generator.zero_grad()
        label.fill_(1.0)
        output = discriminator(fake)
        error_g = criterion(output, label)
        error_g.backward()
        seen += [output.mean().item(), error_g.item()]
        optimizer_g.step()

    return step


def endless(loader: object) -> Iterator[Tensor]:
    """The images of a loader's batches, epoch after epoch."""
    while True:
        for (images,) in loader:
            yield images


def compare(make: Callable[[], Networks], other: Callable, loader: object, batches: int, everything: bool) -> float:
    """Prints both medians in ms and returns (the other's step) / (ours)."""
    images, step = endless(loader), other(make())
    turns = in_turns(make(), loader, batches, lambda: step(next(images)), everything)
    ours, others = statistics.median(turns.ours), statistics.median(turns.others)
    print(f"    {1000 * ours:8.2f} ms ours, {1000 * others:8.2f} ms {other.__name__}   ({batches} batches)")
    return others / ours


def dcgan(size: int, channels: int, width: int = 64) -> Networks:
    torch.manual_seed(0)
    return DCGANGenerator(size, channels, 100, width), DCGANDiscriminator(size, channels, width)


def mlp() -> Networks:
    torch.manual_seed(0)
    return MLPGenerator(), MLPDiscriminator()


def measure_step(rounds: int) -> None:
    """DCGAN-64 (width 64, batch 64) against the tutorial's loop; the bar is 1.10."""
    print("DCGAN-64, width 64, batch 64, RGB: lit_gen with everything on against the tutorial's loop")
    loader = torch.utils.data.DataLoader(Fixed(torch.rand(64, 3, 64, 64) * 2 - 1, 100), batch_size=None)
    ratios = [compare(lambda: dcgan(64, 3), by_tutorial, loader, 12, everything=True) for _ in range(rounds)]
    print(f"  ratio {statistics.median(ratios):.3f} (bar: at least 1.10)")


def measure_overhead(rounds: int) -> None:
    """What Lightning, callbacks and logging cost a step; the bars are 5 % and 10 %."""
    data = Mnist5k(image_size=32, batch_size=64)
    data.prepare_data()
    data.setup()
    for name, make, batches, bar in (
        ("DCGAN-32, width 64, batch 64", lambda: dcgan(32, 1), 20, 5),
        ("MLP, batch 64", mlp, 120, 10),
    ):
        print(f"{name}: under lit_gen, and the same mathematics by hand")
        for what, everything in (("with everything on", True), ("the step alone under Lightning", False)):
            # Where the weights happen to lie in memory moves a run by some per cent: several short ones tell more.
            ratios = [compare(make, by_hand, data.train_dataloader(), batches, everything) for _ in range(rounds)]
            print(f"  {what}: {100 * (1 / statistics.median(ratios) - 1):.1f} % more (bar: less than {bar} %)")


def measure_help(rounds: int) -> None:
    """`python -m lit_gen --help` and `fit --help` against importing Lightning's CLI; the bar is 1.3."""
    print("start-up in seconds")
    commands = {
        "import lightning.pytorch.cli": ["-c", "import lightning.pytorch.cli"],
        "python -m lit_gen --help": ["-m", "lit_gen", "--help"],
        "python -m lit_gen fit --help": ["-m", "lit_gen", "fit", "--help"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            found[name].append(time.perf_counter() - began)
    base = statistics.median(found["import lightning.pytorch.cli"])
    for name, seconds in found.items():
        median = statistics.median(seconds)
        print(f"  {name:<30}{median:6.2f} s, {median / base:.2f} times the import")
    print("  (bar: --help at most 1.3 times)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["step", "overhead", "help", "memory_map"])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    measures = {
        "step": measure_step,
        "overhead": measure_overhead,
        "help": measure_help,
        "memory_map": lambda rounds: memory_map.main(rounds=rounds),
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, measure in measures.items():
        if arguments.only in (None, name):
            measure(arguments.rounds)


if __name__ == "__main__":
    main()
