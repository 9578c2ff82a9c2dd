"""Writes down what a run is: its config, its status, and the axis of its loggers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen import slurm
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.evaluation import Evaluation
from lit_gen.errors import UserError
from lit_gen.interruption import Interrupted
from lit_gen.loggers import MetricsCSV
from lit_gen.resume_checks import check_optimizers, tell_differences
from lit_gen.run_folder import Record


class RunRecord(Callback):
    """`config.yaml` and `run.json` in the run's folder; the loggers count in images seen.

    A resumed run keeps the config.yaml and the seed that it began with, and its metrics.csv up to the checkpoint.

    Args:
        experiment: Name of the experiment.
        seed: The run's seed.
        config: The run's configuration, as YAML.
    """

    def __init__(self, experiment: str, seed: int | None, config: str) -> None:
        self.record = Record(experiment, seed, job=slurm.job())
        self.config = config
        self.began = False  # before, what an older process wrote down holds

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "images_seen"):
                logger.images_seen = lambda: pl_module.images_seen

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only here is a resumed run known to fit its checkpoint; before, nothing of it may be touched."""
        check_optimizers(trainer)
        config = Path(trainer.default_root_dir) / "config.yaml"
        before = Record.read(config.parent) if trainer.ckpt_path else None
        if before is not None:  # its folder and its seed stay its own, whatever is typed
            self.record.experiment, self.record.seed = before.experiment, before.seed
            tell_differences(config, self.config)
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
        if trainer.is_global_zero and not trainer.fast_dev_run and not config.exists():
            config.write_text(self.config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._write(trainer, pl_module)
        folder = Path(trainer.default_root_dir)
        checkpoint["run"] = {"id": folder.name, "experiment": self.record.experiment, "seed": self.record.seed}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the last checkpoint: a run that says "finished" has all that it learnt on the disk."""
        evaluations = [callback for callback in trainer.callbacks if isinstance(callback, Evaluation)]
        self.record.stopped = next((found.stopped for found in evaluations if found.stopped), None)
        if self.record.stopped or getattr(pl_module, "max_images", None) is None or self._images_reached(pl_module):
            self.record.status = "finished"  # one that `max_time` cut short of its images is there to be gone on with
        self._write(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Why it ended, unless it ended before it began."""
        interrupted = isinstance(exception, Interrupted | KeyboardInterrupt)
        self.record.status = "interrupted" if interrupted else "failed"
        self.record.stopped = (str(exception) or type(exception).__name__).splitlines()[0]
        if self.began:
            with suppress(UserError):  # a full disk, which is what the exception says
                self._write(trainer, pl_module)

    @staticmethod
    def _images_reached(pl_module: LightningModule) -> bool:
        max_images = getattr(pl_module, "max_images", None)
        return max_images is not None and pl_module.images_seen >= max_images

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self.began = True
            self.record.images_seen = pl_module.images_seen
            self.record.write(Path(trainer.default_root_dir))
