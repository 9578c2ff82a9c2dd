"""Writes down what a run is: its config, its status, and the axis of its loggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.evaluation import Evaluation
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
        averages = [name for name, _ in pl_module.named_children() if name.endswith("_ema")]
        if averages and not any(isinstance(callback, EMA) for callback in trainer.callbacks):
            rank_zero_warn(
                f"The checkpoint has {', '.join(averages)}, but no EMA is among the callbacks: these weights, which "
                "samples are drawn from, stay as they are. Type --trainer.callbacks+=EMA"
            )
        self._write(trainer, pl_module)
        config = Path(trainer.default_root_dir) / "config.yaml"
        if trainer.is_global_zero and not trainer.fast_dev_run and not config.exists():
            config.write_text(self.config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._write(trainer, pl_module)
        folder = Path(trainer.default_root_dir)
        checkpoint["run"] = {"id": folder.name, "experiment": self.record.experiment, "seed": self.record.seed}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluations = [callback for callback in trainer.callbacks if isinstance(callback, Evaluation)]
        self.record.stopped = next((found.stopped for found in evaluations if found.stopped), None)
        if not trainer.interrupted and (self.record.stopped or self._reached_its_end(pl_module)):
            self.record.status = "finished"
        self._write(trainer, pl_module)

    @staticmethod
    def _reached_its_end(pl_module: LightningModule) -> bool:
        """A run that `max_time` cut short of its images is there to be gone on with."""
        max_images = getattr(pl_module, "max_images", None)
        return max_images is None or pl_module.images_seen >= max_images

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self.record.images_seen = pl_module.images_seen
            self.record.write(Path(trainer.default_root_dir))
