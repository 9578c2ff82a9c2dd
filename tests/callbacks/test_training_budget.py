"""Minutes of training: what counts, what is left out, what a resumed run still has."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lit_gen.callbacks import throughput, training_budget
from lit_gen.callbacks.throughput import left_out
from lit_gen.callbacks.training_budget import TrainingBudget
from lit_gen.errors import UserError


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.wall, self.processor = 100.0, 10.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.processor


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (training_budget, throughput):
        monkeypatch.setattr(module, "time", clock)
    return clock


def trainer_of(budget: TrainingBudget) -> SimpleNamespace:
    loop = SimpleNamespace(total_batch_idx=0)
    return SimpleNamespace(
        world_size=1, should_stop=False, log_every_n_steps=0, loggers=[], callbacks=[budget], fit_loop=loop
    )


def step(budget: TrainingBudget, trainer: SimpleNamespace) -> bool:
    budget.on_train_batch_end(trainer, SimpleNamespace(images_seen=1), None, None, 0)
    return trainer.should_stop


def test_training_ends_with_its_minutes_and_measurements_are_left_out(clock: Clock) -> None:
    budget = TrainingBudget(minutes=1)
    trainer = trainer_of(budget)
    budget.on_train_start(trainer, None)
    clock.wall += 59
    assert not step(budget, trainer)
    with left_out(trainer):
        clock.wall += 1000
    assert not step(budget, trainer)
    clock.wall += 1
    assert step(budget, trainer)


def test_the_processor_clock_counts_work_for_each_thread(clock: Clock) -> None:
    budget = TrainingBudget(minutes=1, clock="processor")
    trainer = trainer_of(budget)
    budget.on_train_start(trainer, None)
    clock.wall += 1000
    with left_out(trainer):
        clock.processor += 1000
    clock.processor += 59 * torch.get_num_threads()
    assert not step(budget, trainer)
    clock.processor += torch.get_num_threads()
    assert step(budget, trainer)


def test_a_resumed_run_has_what_was_left(clock: Clock) -> None:
    first, second = TrainingBudget(minutes=1), TrainingBudget(minutes=1)
    first.on_train_start(trainer_of(first), None)
    clock.wall += 40
    second.load_state_dict(first.state_dict())
    clock.wall += 500  # between the two
    trainer = trainer_of(second)
    second.on_train_start(trainer, None)
    clock.wall += 19
    assert not step(second, trainer)
    clock.wall += 1
    assert step(second, trainer)


@pytest.mark.parametrize(("options", "told"), [({"minutes": 0}, "minutes is 0"), ({"clock": "sun"}, "found clock")])
def test_bad_arguments_are_refused(options: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        TrainingBudget(**options)
