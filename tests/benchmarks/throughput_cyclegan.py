"""CycleGAN's speed against a hand-written loop of the same mathematics: python tests/benchmarks/throughput_cyclegan.py

Steps alternate batch by batch in one process, so that a noisy machine slows both alike; medians and ratios. Nothing is
asserted: the numbers depend on the machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from throughput import ADAM, WARM_UP, InTurns
from torch import Tensor, nn

from datamodules.digit_pair import DigitPair
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.run_record import RunRecord
from lit_gen.callbacks.throughput import Throughput
from lit_gen.loggers import MetricsCSV
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.translation import TranslationGenerator

POOL, CYCLE, IDENTITY = 50, 10.0, 0.5
Networks = tuple[nn.Module, nn.Module, nn.Module, nn.Module]


def networks() -> Networks:
    """Both generators and both discriminators of experiments/cyclegan_digits.yaml."""
    torch.manual_seed(0)
    generators = (TranslationGenerator(width=16, n_blocks=2) for _ in range(2))
    return *generators, *(PatchDiscriminator(width=32, n_layers=1) for _ in range(2))


def by_hand(made: Networks) -> Callable[[tuple[Tensor, Tensor]], None]:
    """The same mathematics in a plain step, without a Trainer; the pool as a list."""
    to_b, to_a, judge_a, judge_b = made
    generators, judges = [*to_b.parameters(), *to_a.parameters()], [*judge_a.parameters(), *judge_b.parameters()]
    optimizer_g, optimizer_d = ADAM(generators), ADAM(judges)
    pools: tuple[list[Tensor], list[Tensor]] = ([], [])

    def older(pool: list[Tensor], fakes: Tensor) -> Tensor:
        given = []
        for fake in fakes.detach():
            if len(pool) < POOL:
                pool.append(fake)
            elif random.random() < 0.5:
                place = random.randrange(POOL)
                fake, pool[place] = pool[place], fake
            given.append(fake)
        return torch.stack(given)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        real_a, real_b = batch
        for parameter in judges:
            parameter.requires_grad_(False)
        fake_b, fake_a = to_b(real_a), to_a(real_b)
        cycle = F.l1_loss(to_a(fake_b), real_a) + F.l1_loss(to_b(fake_a), real_b)
        identity = F.l1_loss(to_a(real_a), real_a) + F.l1_loss(to_b(real_b), real_b)
        game = ((judge_a(fake_a) - 1).square().mean() + (judge_b(fake_b) - 1).square().mean()) / 2
        optimizer_g.zero_grad()
        (game + CYCLE * cycle + CYCLE * IDENTITY * identity).backward()
        optimizer_g.step()
        for parameter in judges:
            parameter.requires_grad_(True)
        loss = torch.zeros(())
        for judge, real, fake in (
            (judge_a, real_a, older(pools[0], fake_a)),
            (judge_b, real_b, older(pools[1], fake_b)),
        ):
            loss = loss + ((judge(real) - 1).square().mean() + judge(fake).square().mean()) / 2
        optimizer_d.zero_grad()
        loss.backward()
        optimizer_d.step()

    return step


def endless(loader: object) -> Iterator[tuple[Tensor, Tensor]]:
    """A loader's batches, epoch after epoch."""
    while True:
        yield from loader


def compare(loader: object, batches: int) -> float:
    """Prints both medians in ms and returns (ours) / (by hand)."""
    given, step = endless(loader), by_hand(networks())
    turns = InTurns(lambda: step(next(given)))
    model = CycleGAN(
        *networks(), pool_size=POOL, cycle_weight=CYCLE, identity_weight=IDENTITY,
        generator_optimizer=ADAM, discriminator_optimizer=ADAM,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        callbacks = [EMA(modules=["generator_ab", "generator_ba"]), RunRecord("benchmark", 0, "{}"), Throughput()]
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, max_steps=2 * (batches + WARM_UP), default_root_dir=folder,
            callbacks=[*callbacks, ImageProgressBar(), LastCheckpoint(10**9), turns], logger=[MetricsCSV(folder)],
            limit_val_batches=0, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, loader)
    ours, others = (statistics.median(seconds[WARM_UP:]) for seconds in (turns.ours, turns.others))
    print(f"    {1000 * ours:8.2f} ms ours, {1000 * others:8.2f} ms by hand   ({batches} batches)")
    return ours / others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60)
    arguments = parser.parse_args()
    data = DigitPair(batch_size=8)
    data.prepare_data()
    data.setup()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("CycleGAN, 28 pixels, width 16, 2 blocks, batch 8: all default callbacks, and the same mathematics by hand")
    ratios = [compare(data.train_dataloader(), arguments.batches) for _ in range(arguments.rounds)]
    print(f"  {100 * (statistics.median(ratios) - 1):.1f} % more (bar: less than 5 %)")


if __name__ == "__main__":
    main()
