"""The checkpoint that a run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info

from lit_gen.errors import UserError


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt` in the run's folder, counted in images and written anew at the end of training.

    Lightning's ModelCheckpoint ignores its time interval under manual optimization and counts the steps of every
    optimizer. The file is replaced only when the new one is complete.

    Args:
        every: Images between two checkpoints.
    """

    def __init__(self, every: int = 20_000) -> None:
        if every < 1:
            raise UserError(f"LastCheckpoint: every is {every}, but at least 1 image is needed, e.g. 20000.")
        self.every = every
        self.began = self.saved = 2**63  # nothing to save before training has started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = self.saved = pl_module.images_seen

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Between two batches: at the end of one its metrics are not yet written, and its validation is to come."""
        if pl_module.images_seen // self.every > self.saved // self.every and not trainer.should_stop:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Even where the last batch was saved: other callbacks may have fitted something since, such as a mixture."""
        if pl_module.images_seen > self.began:
            self.save(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Ctrl-C keeps what was learnt; after another exception, or in several processes, it may be half a step."""
        if isinstance(exception, KeyboardInterrupt) and trainer.world_size == 1 and pl_module.images_seen > self.saved:
            self.save(trainer, pl_module)
            rank_zero_info(f"Saved {trainer.default_root_dir}/last.ckpt. Go on with --ckpt_path last.")

    def save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved = pl_module.images_seen
        if not trainer.fast_dev_run:
            save_whole(trainer, Path(trainer.default_root_dir) / "last.ckpt")


def save_whole(trainer: Trainer, path: Path) -> None:
    """Writes a checkpoint that replaces an older one only when it is complete; every process takes part."""
    unfinished = path.with_name(f".{path.name}.writing")
    trainer.save_checkpoint(unfinished, weights_only=False)
    if trainer.is_global_zero:
        unfinished.replace(path)
