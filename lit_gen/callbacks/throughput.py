"""How fast a run is, and how much of its time it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler, Profiler


class Throughput(Callback):
    """Logs `train/images_per_second` (over all processes) and `train/data_wait`, the share of time spent on data.

    Both are means since the last logged step; validation is left out of both. On a GPU the work is queued, so that
    `data_wait` near 0 means that the GPU is kept busy. `data_wait` is missing where the Trainer has another profiler.
    """

    def __init__(self) -> None:
        self.images_per_second: float | None = None
        self.data_wait: float | None = None
        self._fetches: _FetchTimer | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # The time that the loop spends in the data loader is visible to Lightning's profilers only.
        if stage == "fit" and isinstance(trainer.profiler, PassThroughProfiler):
            trainer.profiler = self._fetches = _FetchTimer()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_window(pl_module.images_seen)

    def _start_window(self, images_seen: int) -> None:
        self._images = images_seen
        self._began = time.perf_counter()
        if self._fetches is not None:
            self._fetches.seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = trainer.fit_loop.total_batch_idx
        if not trainer.log_every_n_steps or (number + 1) % trainer.log_every_n_steps:
            return
        seconds = max(time.perf_counter() - self._began, 1e-9)
        self.images_per_second = (pl_module.images_seen - self._images) / seconds
        metrics = {"train/images_per_second": self.images_per_second}
        if self._fetches is not None:
            self.data_wait = metrics["train/data_wait"] = self._fetches.seconds / seconds
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=number)
        self._start_window(pl_module.images_seen)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.leave_out(time.perf_counter() - self._validation_began)

    def leave_out(self, seconds: float, processor_seconds: float = 0.0) -> None:
        """Time that was spent on something else than training."""
        self._began += seconds


@contextmanager
def left_out(trainer: Trainer) -> Iterator[None]:
    """What is done inside is no training: every callback that counts its time is told to leave it out."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    for callback in trainer.callbacks:
        if hasattr(callback, "leave_out"):
            callback.leave_out(time.perf_counter() - wall, time.process_time() - processor)


class _FetchTimer(Profiler):
    """Seconds spent in the training loop's calls of the data loader."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self._began = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self.seconds += time.perf_counter() - self._began
