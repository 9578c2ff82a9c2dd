"""What a checkpoint holds of a run beside what it has learnt, and what is done where it does not fit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from families import make, train
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.exact_resume import ExactResume
from lit_gen.errors import UserError
from lit_gen.random_streams import put_back, seed_all, streams

CPU = torch.device("cpu")


def draw() -> tuple[float, ...]:
    """One number from each stream."""
    return random.random(), np.random.normal(), torch.randn(()).item()  # noqa: NPY002


def test_streams_go_on_where_they_were() -> None:
    seed_all(3)
    random.gauss(0.0, 1.0), draw()  # both keep a second normal number for the next time
    before = streams(CPU)
    first = draw(), random.gauss(0.0, 1.0)
    seed_all(4)
    assert draw() != first[0]
    put_back(before, CPU)
    assert (draw(), random.gauss(0.0, 1.0)) == first


def test_streams_are_plain_values(tmp_path) -> None:
    torch.save(streams(CPU), tmp_path / "streams.pt")
    found = torch.load(tmp_path / "streams.pt", weights_only=True)
    expected = draw()
    put_back(found, CPU)
    assert draw() == expected


class Draws(Callback):
    """Notes what the streams would give when training starts, and at each checkpoint."""

    def __init__(self) -> None:
        self.numbers: list[tuple[float, ...]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.numbers.append(draw())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        before = streams(CPU)
        self.numbers.append(draw())
        put_back(before, CPU)


def saved(tmp_path, **changes: Any) -> str:
    """A checkpoint of a tiny GAN, with some of its entries changed."""
    path = tmp_path / "run.ckpt"
    train(make("gan"), "gan", ExactResume(), batches=2).save_checkpoint(path)
    torch.save({**torch.load(path, weights_only=True), **changes}, path)
    return str(path)


def test_a_resumed_run_draws_on(tmp_path) -> None:
    draws, path = Draws(), tmp_path / "run.ckpt"
    train(make("gan"), "gan", ExactResume(), draws, batches=2).save_checkpoint(path)
    again = Draws()
    train(make("gan"), "gan", ExactResume(), again, batches=2, ckpt_path=str(path), max_epochs=2)
    assert again.numbers[0] == draws.numbers[1]


def test_another_number_of_processes_is_said_and_draws_anew(tmp_path) -> None:
    path = saved(tmp_path, random_streams=[streams(CPU)] * 2)
    draws = Draws()
    with pytest.warns(UserWarning, match="is a checkpoint of 2 processes: this run of 1 draws other numbers"):
        train(make("gan"), "gan", ExactResume(), draws, batches=2, ckpt_path=path, max_epochs=2)
    seed_all(8)  # images seen
    assert draws.numbers[0] == draw()


@pytest.mark.parametrize("wrong", [{}, {**streams(CPU), "torch": torch.zeros(3, dtype=torch.uint8)}])
def test_streams_that_are_none_are_refused(wrong: dict[str, Any], tmp_path) -> None:
    with pytest.raises(UserError, match="holds random streams that are none"):
        path = saved(tmp_path, random_streams=[wrong])
        train(make("gan"), "gan", ExactResume(), batches=2, ckpt_path=path, max_epochs=2)


def test_an_average_that_is_not_yet_due_stays_so(tmp_path) -> None:
    path, first, second = tmp_path / "run.ckpt", *(EMA(half_life=10_000, ramp_up=None) for _ in range(2))
    train(make("gan"), "gan", first, batches=2).save_checkpoint(path)
    train(make("gan"), "gan", second, batches=2, ckpt_path=str(path), max_epochs=2)
    assert first.images_seen == second.images_seen == 0  # of the 200 that it waits for 16 were seen


@pytest.mark.parametrize("validations", [0, 1])
def test_validation_draws_the_same_each_time_and_leaves_the_run_alone(validations: int) -> None:
    resume, trainer = ExactResume(), Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    model, drawn = make("gan"), []
    seed_all(5)
    expected = draw()
    seed_all(5)
    for _ in range(2 * validations):
        resume.on_validation_start(trainer, model)
        drawn.append(draw())
        resume.on_validation_end(trainer, model)
    assert len(set(drawn)) == validations
    assert draw() == expected
