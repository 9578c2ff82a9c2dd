"""So many minutes of training and no more, whatever is measured on the way."""

from __future__ import annotations

import time
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.errors import UserError
from lit_gen.ranks import Ranks

Clock = Literal["wall", "processor"]


class TrainingBudget(Callback):
    """Ends the training when its minutes are used up, so that methods can be compared at equal cost.

    Measurements (Evaluation, LeakProbe) are left out, and so are the minutes before training begins. Logs
    `train/minutes` beside every other logged step.

    Args:
        minutes: Of training, more than 0; a resumed run goes on counting.
        clock: `wall`, or `processor`: processor time divided by torch's threads, which other work on the same machine
            hardly changes.

    Raises:
        UserError: `minutes` or `clock` is none of these.
    """

    def __init__(self, minutes: float = 10.0, clock: Clock = "wall") -> None:
        if not minutes > 0:
            raise UserError(f"TrainingBudget: minutes is {minutes}, expected more than 0. Type minutes: 10, say.")
        if clock not in ("wall", "processor"):
            raise UserError(f"TrainingBudget: found clock {clock!r}, expected wall or processor. Type clock: wall.")
        self.minutes = minutes
        self.clock = clock
        self.seconds = 0.0  # used up before `began`
        self.began = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.used()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = self.now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Processes that stopped at different batches would wait for each other for ever.
        used = Ranks.of(trainer).broadcast(self.used()) if trainer.world_size > 1 else self.used()
        number = trainer.fit_loop.total_batch_idx
        if trainer.log_every_n_steps and (number + 1) % trainer.log_every_n_steps == 0:
            for logger in trainer.loggers:
                logger.log_metrics({"train/minutes": used / 60}, step=number)
        if used >= 60 * self.minutes and not trainer.should_stop:
            trainer.should_stop = True
            rank_zero_info(f"Stopped after {pl_module.images_seen:,} images: {self.minutes:g} minutes are used up.")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds, self.began = self.used(), 0.0

    def leave_out(self, seconds: float, processor_seconds: float) -> None:
        """Time that was spent on something else than training."""
        self.began += seconds if self.clock == "wall" else processor_seconds / torch.get_num_threads()

    def used(self) -> float:
        """Seconds of training so far, those of the run that this one goes on from among them."""
        return self.seconds + (self.now() - self.began if self.began else 0.0)

    def now(self) -> float:
        return time.perf_counter() if self.clock == "wall" else time.process_time() / torch.get_num_threads()
