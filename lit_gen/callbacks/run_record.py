"""Writes down what a run is: its config, its status, and the axis of its loggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from lit_gen.loggers import MetricsCSV
from lit_gen.run_folder import Record


class RunRecord(Callback):
    """`config.yaml` and `run.json` in the run's folder; the loggers count in images seen.

    A resumed run keeps the config.yaml that it began with, and its metrics.csv up to the checkpoint.

    Args:
        experiment: Name of the experiment.
        seed: The run's seed.
        config: The run's configuration, as YAML.
    """

    def __init__(self, experiment: str, seed: int | None, config: str) -> None:
        self.record = Record(experiment, seed)
        self.config = config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "images_seen"):
                logger.images_seen = lambda: pl_module.images_seen

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only here is a resumed run known to fit its checkpoint; before, nothing of it may be touched."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.cut(pl_module.images_seen)
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(yaml.safe_load(self.config))
        self._write(trainer, pl_module)
        config = Path(trainer.default_root_dir) / "config.yaml"
        if trainer.is_global_zero and not trainer.fast_dev_run and not config.exists():
            config.write_text(self.config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.interrupted:
            self.record.status = "finished"
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self.record.images_seen = pl_module.images_seen
            self.record.write(Path(trainer.default_root_dir))
