"""Speed of the VAE: python tests/benchmarks/throughput_vae.py [--rounds 9]

A small convolutional VAE of Mnist5k (width 16, 32 latents, batch 64) under our Trainer with everything that a run has
by default, against (a) the same mathematics in a loop by hand and (b) pythae 0.1.2's trainer with its own data path,
where pythae is installed (see vae_bound.py). Steps alternate batch by batch in one process, so that a noisy machine
slows both alike; medians of several short rounds. Nothing is asserted: the numbers depend on the machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


def networks() -> Networks:
    torch.manual_seed(0)
    return ConvEncoder(width=16), ConvDecoder(width=16)


def in_turns(loader: object, batches: int, other: Callable[[], None]) -> InTurns:
    """`VAE` under the Trainer, with all that a run has by default, in turns with another step."""
    model = VAE(*networks(), optimizer=FUSED)
    turns = InTurns(other)
    with tempfile.TemporaryDirectory() as folder:
        defaults = [RunRecord("benchmark", 0, "{}"), Throughput(), ImageProgressBar(), LastCheckpoint(10**9)]
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, max_steps=batches + WARM_UP, default_root_dir=folder,
            callbacks=[EMA(modules=["encoder", "decoder"]), *defaults, turns], logger=[MetricsCSV(folder)],
            limit_val_batches=0, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, loader)
    turns.ours, turns.others = turns.ours[WARM_UP:], turns.others[WARM_UP:]
    return turns


@contextmanager
def by_hand(data: Mnist5k) -> Iterator[Callable[[], None]]:
    """The same mathematics in a plain step, from the same loader."""
    encoder, decoder = (network.to(memory_format=torch.channels_last) for network in networks())
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

    yield step


class Ended(Exception):
    """Stops the other trainer."""


@contextmanager
def by_pythae(data: Mnist5k) -> Iterator[Callable[[], None]]:
    """pythae's BaseTrainer in a thread of its own that runs one step whenever it is its turn."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    ours, its, ended = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def hand_over() -> None:
        ours.release()
        its.acquire()
        if ended.is_set():
            raise Ended

    class HandOver(TrainingCallback):
        def on_train_step_end(self, training_config, **kwargs) -> None:
            hand_over()

    def train(trainer: BaseTrainer) -> None:
        its.acquire()
        with suppress(Ended):
            trainer.train()
        ours.release()

    def step() -> None:
        its.release()
        ours.acquire()

    logging.disable(logging.INFO)
    images: Tensor = (Bernoulli().observe(images_of(data.train_set)) + 1) / 2
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder, num_epochs=1000, learning_rate=1e-3, per_device_train_batch_size=BATCH_SIZE, no_cuda=True
        )
        trainer = BaseTrainer(
            pythae_vae(*networks()), BaseDataset(images, torch.zeros(len(images))), training_config=training,
            callbacks=[HandOver()],
        )  # fmt: skip
        thread = threading.Thread(target=train, args=(trainer,))
        thread.start()
        try:
            yield step
        finally:
            ended.set()
            step()
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=100)
    settings = parser.parse_args()
    data = load_data(BATCH_SIZE)
    others = [by_hand] + [by_pythae] * (importlib.util.find_spec("pythae") is not None)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for other in others:
        ratios = []
        for _ in range(settings.rounds):
            with other(data) as step:
                turns = in_turns(data.train_dataloader(), settings.batches, step)
            mine, its = statistics.median(turns.ours), statistics.median(turns.others)
            ratios.append(its / mine)
            print(
                f"    {1000 * mine:6.2f} ms ours ({BATCH_SIZE / mine:,.0f} images/s), {1000 * its:6.2f} ms "
                f"{other.__name__} ({BATCH_SIZE / its:,.0f} images/s)"
            )
        bar = "at least 0.95" if other is by_hand else "at least 1.10"
        print(f"  {other.__name__}: ours has {statistics.median(ratios):.3f} times its images/s (bar: {bar})")


if __name__ == "__main__":
    main()
