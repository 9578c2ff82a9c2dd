"""The checkpoint that a run goes on from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_gen.checkpoint_file import write_durably
from lit_gen.errors import UserError
from lit_gen.ranks import Ranks


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt` in the run's folder: by images, minutes or epochs, and at the end of training.

    Lightning's ModelCheckpoint ignores its time interval under manual optimization and counts the steps of every
    optimizer. The file is replaced only when the new one is complete, and the one before stays as last.previous.ckpt.

    Args:
        every: Images between two checkpoints; None: images do not matter.
        every_minutes: Minutes between two checkpoints, by the clock of the first process.
        every_epochs: Epochs between two checkpoints, each when the next one begins.

    Raises:
        UserError: One of these is not above 0.
    """

    def __init__(
        self, every: int | None = 20_000, every_minutes: float | None = None, every_epochs: int | None = None
    ) -> None:
        examples = {
            "every": (every, "20000"),
            "every_minutes": (every_minutes, "10"),
            "every_epochs": (every_epochs, "1"),
        }
        for name, (value, example) in examples.items():
            if value is not None and not value > 0:
                raise UserError(f"LastCheckpoint: {name} is {value}, expected more than 0. Type {name}: {example}.")
        self.every, self.every_minutes, self.every_epochs = every, every_minutes, every_epochs
        self.saved = self.saved_epoch = 0  # images and epochs at the last checkpoint
        self.clock = 0.0  # when it was written

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_again(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Between two batches: at the end of one its metrics are not yet written, and its validation is to come."""
        due = self._images_due(pl_module) or self._epochs_due(trainer) or self._minutes_due(trainer)
        if due and not trainer.should_stop:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Even where the last batch was saved: other callbacks may have fitted something since, such as a mixture."""
        if pl_module.images_seen:
            self.save(trainer, pl_module)

    def _images_due(self, pl_module: LightningModule) -> bool:
        return self.every is not None and pl_module.images_seen // self.every > self.saved // self.every

    def _epochs_due(self, trainer: Trainer) -> bool:
        every = self.every_epochs
        return every is not None and trainer.current_epoch // every > self.saved_epoch // every

    def _minutes_due(self, trainer: Trainer) -> bool:
        """The same in all processes, of which each takes part in a checkpoint."""
        if self.every_minutes is None:
            return False
        due = time.monotonic() - self.clock >= 60 * self.every_minutes
        return bool(Ranks.of(trainer).gather(torch.tensor(due))[0])

    def save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_again(trainer, pl_module)
        save_whole(trainer, last_of(trainer))

    def _begin_again(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved, self.saved_epoch, self.clock = pl_module.images_seen, trainer.current_epoch, time.monotonic()


def last_of(trainer: Trainer) -> Path:
    """Where the checkpoint lies that a run goes on from."""
    return Path(trainer.default_root_dir) / "last.ckpt"


def save_whole(trainer: Trainer, path: Path) -> None:
    """Writes a checkpoint of the whole run, unless it is a mere trial; every process takes part.

    Raises:
        UserError: In every process, where the first cannot write: none is to wait for it for ever.
    """
    if trainer.fast_dev_run:
        return
    write_durably(trainer)
    mistake = None
    try:
        trainer.save_checkpoint(path, weights_only=False)
    except UserError as error:
        mistake = error
        trainer.strategy.barrier()  # where the others are already, at the end of save_checkpoint
    Ranks.of(trainer).first(_complain, mistake)


def _complain(mistake: UserError | None) -> None:
    if mistake is not None:
        raise mistake
