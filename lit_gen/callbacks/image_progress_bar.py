"""One progress bar for the whole run, counted in images."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

from lit_gen.callbacks.evaluation import Evaluation
from lit_gen.callbacks.throughput import Throughput


class ImageProgressBar(ProgressBar):
    """Images seen of `max_images` (or of `max_epochs`), images/s, time left, epoch and the share of time on data.

    Args:
        refresh: Seconds between two updates on a terminal; a log file gets a line every 20 times that.
    """

    def __init__(self, refresh: float = 0.5) -> None:
        super().__init__()
        self.refresh = refresh
        self.bar: tqdm | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._enabled:  # Lightning disables it on all ranks but the first
            return
        self.began = time.perf_counter()
        self.throughput = next((c for c in trainer.callbacks if isinstance(c, Throughput)), None)
        self.bar = tqdm(
            total=self.total(trainer, pl_module),
            initial=pl_module.images_seen,
            unit=" images",
            desc="training",
            dynamic_ncols=True,
            mininterval=self.refresh if sys.stderr.isatty() else 20 * self.refresh,
            miniters=1,
        )

    @staticmethod
    def total(trainer: Trainer, pl_module: LightningModule) -> int | None:
        """Images that the run is going to see, or None where only time ends it."""
        if getattr(pl_module, "max_images", None):
            return pl_module.max_images
        batch_size = getattr(trainer.datamodule, "batch_size", None)
        if batch_size is None or not trainer.max_epochs or trainer.max_epochs < 0:
            return None
        return int(trainer.max_epochs * trainer.num_training_batches * batch_size * trainer.world_size)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None:
            return
        wait = self.throughput and self.throughput.data_wait
        parts = [f"epoch {trainer.current_epoch}"]
        if wait is not None:
            parts.append(f"waits for data {wait:.0%}")
        measuring = sum(callback.seconds for callback in trainer.callbacks if isinstance(callback, Evaluation))
        if measuring:
            parts.append(f"evaluation {measuring / max(time.perf_counter() - self.began, measuring):.0%} of the time")
        self.bar.set_postfix_str(", ".join(parts), refresh=False)
        seen = pl_module.images_seen if self.bar.total is None else min(pl_module.images_seen, self.bar.total)
        self.bar.update(seen - self.bar.n)  # the last batch may pass the total, and tqdm would forget it

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
