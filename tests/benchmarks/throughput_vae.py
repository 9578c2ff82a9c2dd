"""Speed of the VAE: python tests/benchmarks/throughput_vae.py [--rounds 9]

The VAE of experiments/vae_mnist5k.yaml (width 32, batches of 64) under our Trainer with everything that a run has by
default, against (a) the same mathematics in a loop by hand and (b) the trainer of pythae 0.1.2 with its own data path,
where it is installed (see vae_bound.py). Steps alternate batch by batch with the loop by hand, short runs with pythae,
so that a noisy machine slows both alike; medians of the rounds. Nothing is asserted: the numbers depend on the machine.

Measured with one thread (torch 2.15), --batches 40: (a) 0.96 times the images/s of the loop by hand, (b) 1.11 times
pythae's (1,440 against 1,315 images/s). Lightning takes 1 to 2 ms of a step whatever its size, so networks of half the
width (--width 16, 18 ms a step) have 0.92 and 1.09 to 1.11.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from lightning.pytorch import Trainer
from throughput import WARM_UP, InTurns, endless
from torch import Tensor, nn
from vae_bound import images_of, load_data, pythae_vae

from datamodules.mnist5k import Mnist5k
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.run_record import RunRecord
from lit_gen.callbacks.throughput import Throughput
from lit_gen.loggers import MetricsCSV
from lit_gen.losses.likelihoods import Bernoulli
from lit_gen.models.vae import VAE
from lit_gen.networks.vae import ConvDecoder, ConvEncoder

BATCH_SIZE = 64
FUSED = partial(torch.optim.Adam, lr=1e-3, fused=True)  # as in experiments/vae_mnist5k.yaml
Networks = tuple[nn.Module, nn.Module]


def networks(width: int) -> Networks:
    torch.manual_seed(0)
    return ConvEncoder(width=width), ConvDecoder(width=width)


def in_turns(width: int, loader: object, batches: int, other: Callable[[], None]) -> InTurns:
    """`VAE` under the Trainer, with all that a run has by default, in turns with another step."""
    model = VAE(*networks(width), optimizer=FUSED)
    turns = InTurns(other)
    with tempfile.TemporaryDirectory() as folder:
        defaults = [RunRecord("benchmark", 0, "{}"), Throughput(), ImageProgressBar(), LastCheckpoint(10**9)]
        # Without the ramp-up of a run's first images, the average is taken as often as later: every 200 images.
        average = EMA(ramp_up=None, modules=["encoder", "decoder"])
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, max_steps=batches + WARM_UP, default_root_dir=folder,
            callbacks=[average, *defaults, turns], logger=[MetricsCSV(folder)], limit_val_batches=0,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, loader)
    turns.ours, turns.others = turns.ours[WARM_UP:], turns.others[WARM_UP:]
    return turns


def by_hand(width: int, data: Mnist5k) -> Callable[[], None]:
    """The same mathematics in a plain step, from the same loader."""
    encoder, decoder = (network.to(memory_format=torch.channels_last) for network in networks(width))
    optimizer = FUSED([*encoder.parameters(), *decoder.parameters()])
    images = endless(data.train_dataloader())

    def step() -> None:
        white = (next(images) > 0).float()
        mu, logvar = encoder(2 * white - 1)
        raw = decoder(mu + (0.5 * logvar).exp() * torch.randn_like(mu))
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(raw, white, reduction="sum")
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()
        optimizer.zero_grad()
        ((cross_entropy + kl) / len(white)).backward()
        optimizer.step()

    return step


class Ended(Exception):
    """Stops the other trainer."""


def by_pythae(width: int, data: Mnist5k, batches: int) -> list[float]:
    """Seconds of each batch in pythae's BaseTrainer, from the end of one to the end of the next."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    ends: list[float] = []

    class Clock(TrainingCallback):
        def on_train_step_end(self, training_config, **kwargs) -> None:
            ends.append(time.perf_counter())
            if len(ends) > batches + WARM_UP:
                raise Ended

    logging.disable(logging.INFO)
    images: Tensor = (Bernoulli().observe(images_of(data.train_set)) + 1) / 2
    with tempfile.TemporaryDirectory() as folder, suppress(Ended):
        training = BaseTrainerConfig(
            output_dir=folder, num_epochs=1000, learning_rate=1e-3, per_device_train_batch_size=BATCH_SIZE, no_cuda=True
        )
        train_set = BaseDataset(images, torch.zeros(len(images)))
        BaseTrainer(pythae_vae(*networks(width)), train_set, training_config=training, callbacks=[Clock()]).train()
    return [after - before for before, after in itertools.pairwise(ends)][WARM_UP:]


def against_hand(width: int, data: Mnist5k, batches: int) -> InTurns:
    return in_turns(width, data.train_dataloader(), batches, by_hand(width, data))


def against_pythae(width: int, data: Mnist5k, batches: int) -> InTurns:
    """One run after the other: in one process with it, by a thread of its own, both would be slowed."""
    turns = in_turns(width, data.train_dataloader(), batches, lambda: None)
    turns.others = by_pythae(width, data, batches)
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--width", type=int, default=32, help="of the networks")
    settings = parser.parse_args()
    data = load_data(BATCH_SIZE)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    measures = [(against_hand, "at least 0.95")]
    if importlib.util.find_spec("pythae") is not None:
        measures.append((against_pythae, "at least 1.10"))
    for measure, bar in measures:
        ratios = []
        for _ in range(settings.rounds):
            turns = measure(settings.width, data, settings.batches)
            ours, others = statistics.median(turns.ours), statistics.median(turns.others)
            ratios.append(others / ours)
            print(
                f"    {1000 * ours:6.2f} ms ours ({BATCH_SIZE / ours:,.0f} images/s), {1000 * others:6.2f} ms theirs "
                f"({BATCH_SIZE / others:,.0f} images/s)"
            )
        print(f"  {measure.__name__}: {statistics.median(ratios):.3f} times the images/s (bar: {bar})")


if __name__ == "__main__":
    main()
