"""How good the images are, while a model learns and when it is tested: numbers with intervals, on held-out images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lit_gen.callbacks.bar import bar_of
from lit_gen.callbacks.last_checkpoint import save_whole
from lit_gen.callbacks.stop_signals import PutOff, unless_stopped
from lit_gen.callbacks.throughput import left_out
from lit_gen.errors import UserError, nearest
from lit_gen.files import writable_folder
from lit_gen.metrics.assessment import assess, report_of
from lit_gen.metrics.base import Estimate, Metric
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.evidence import ask, evidence_of, needs_of, workplace
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.fid import FID
from lit_gen.metrics.kid import KID
from lit_gen.metrics.memorisation import Memorisation
from lit_gen.metrics.precision_recall import PrecisionRecall
from lit_gen.metrics.report import Report
from lit_gen.metrics.report_html import write_html
from lit_gen.metrics.subject import Against, Subject, subjects_of
from lit_gen.ranks import Ranks


class Evaluation(Callback):
    """Measures generated images every so many images seen, from the same latents and the EMA weights.

    Every number is logged as `val/<name>_<extractor>` with both ends of its 95 % interval (`_low`, `_high`). The best
    weights by `monitor` are kept as `best.ckpt`. `python -m lit_gen test` does the same on the test images and writes a
    report.

    Args:
        every: Images between two measurements; beginning and end of training always have one.
        n: Generated images for each of them. Numbers of different n are not to be compared (FID above all).
        n_test: Generated images in a test.
        metrics: What is measured; by default KID, FID, precision and recall, and memorisation in training, and in a
            test all that the model and the data allow.
        extractor: The network whose features are compared; EfficientNet-Lite0 on 128 pixels by default.
        monitor: The number that `best.ckpt` and `patience` go by.
        patience: Images without a better `monitor` after which the training ends; None goes on to its end.
        against: `held-out` images (validation images in training, test images in a test), or those of `train`, which
            say little: such numbers are called `..._on_train`.
        seed: Of the latents.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        every: int = 20_000,
        n: int = 1_000,
        n_test: int = 2_000,
        metrics: list[Metric] | None = None,
        extractor: Extractor | None = None,
        monitor: str = "kid",
        patience: int | None = None,
        against: Against = "held-out",
        seed: int = 0,
    ) -> None:
        numbers = {"every": every, "n": n, "n_test": n_test, "patience": patience}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise UserError(f"Evaluation: {name} is {value}, but at least 1 image is needed, e.g. {name}: 2000.")
        self.every, self.n, self.n_test = every, n, n_test
        self.metrics = metrics
        self.extractor = extractor
        self.monitor, self.patience = monitor, patience
        self.against = against
        self.seed = seed
        self.measured = -1  # images seen at the last measurement
        self.best: float | None = None
        self.best_images = 0  # seen when it was found
        self.stopped = ""  # why, where patience ended the run
        self.seconds = 0.0  # that measurements have taken
        self.latest: dict[str, float] = {}
        self.subjects: list[Subject] = []
        self.report: Report | None = None  # of the last test, in the first process

    def state_dict(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("measured", "best", "best_images", "stopped")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses whatever could not be measured, before the training begins."""
        self.chosen = [KID(), FID(), PrecisionRecall(), Memorisation()] if self.metrics is None else self.metrics
        self.look_at_reals(trainer, pl_module, "val", self.n)
        self.monitored = monitored(self.monitor, self.chosen, self.subjects)
        for subject in self.subjects:
            subject.check(self.chosen)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Not in on_train_start: an EMA that stands behind this callback takes in loaded weights only there.
        if self.measured < 0 and pl_module.images_seen == 0:
            self.measure(trainer, pl_module)
        self.measure_if_due(trainer, pl_module)  # put off by a signal, before the run went on

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.measure_if_due(trainer, pl_module)

    def measure_if_due(self, trainer: Trainer, model: LightningModule) -> None:
        if model.images_seen // self.every > max(self.measured, 0) // self.every and not trainer.should_stop:
            self.measure(trainer, model)
            self.stop_in_vain(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.images_seen > self.measured:
            self.measure(trainer, pl_module, last=True)
        if self.stopped:
            rank_zero_info(f"Stopped after {pl_module.images_seen:,} images: {self.stopped}.")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what could not be reported, before anything is computed."""
        self.prepare(trainer, pl_module, "test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.assess(trainer, pl_module, "test")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.prepare(trainer, pl_module, "val")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.assess(trainer, pl_module, "val")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.setdefault("metrics", {}).update(self.latest)

    def look_at_reals(self, trainer: Trainer, model: LightningModule, split: Literal["val", "test"], n: int) -> None:
        """Features of the real images, from the cache or computed now."""
        self.extractor = (self.extractor or EfficientNetExtractor()).to(model.device)
        with bar_of(trainer, "features of real images") as step:
            self.subjects = subjects_of(
                model, trainer.datamodule, split, n, self.seed, self.against, self.extractor, Ranks.of(trainer), step
            )

    def measure(self, trainer: Trainer, model: LightningModule, last: bool = False) -> None:
        """One measurement, logged; it may write best.ckpt. Unless it is the last, a signal to stop puts it off."""
        first, began, before = not self.seconds, time.perf_counter(), self.measured
        self.measured = model.images_seen
        if trainer.fast_dev_run:
            return
        with left_out(trainer):
            try:
                estimates = [estimate for subject in self.subjects for estimate in self.judged(trainer, subject, last)]
            except PutOff:
                self.measured = before
                return
            except UserError as error:
                if first:  # a metric that cannot do with this model or this extractor
                    raise
                # The model has diverged: whoever trains it decides what becomes of the run.
                rank_zero_warn(str(error))
                estimates = []
            self.tell_loggers(trainer, estimates)
            self.keep_best(trainer, next((found for found in estimates if found.name == self.monitored), None))
        self.seconds += time.perf_counter() - began

    def judged(self, trainer: Trainer, subject: Subject, last: bool = False) -> list[Estimate]:
        """What the chosen metrics find, the same in all processes."""
        ranks = Ranks.of(trainer)
        with tempfile.TemporaryDirectory(dir=workplace()) as folder, bar_of(trainer, "evaluation", subject.n) as bar:
            step = bar if last else unless_stopped(trainer, bar)
            evidence = evidence_of(subject, needs_of(self.chosen), self.extractor, Path(folder), ranks, step)
            return ranks.first(ask, self.chosen, evidence, subject.prefix)

    def tell_loggers(self, trainer: Trainer, estimates: list[Estimate]) -> None:
        self.latest = self.named(estimates, "val")
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.processed  # not the one that is about to begin
        for logger in trainer.loggers:
            logger.log_metrics(self.latest, step=max(batches - 1, 0))

    def named(self, estimates: Sequence[Estimate], split: str) -> dict[str, float]:
        """The values and the ends of their intervals, as the loggers call them."""
        found = {}
        for estimate in estimates:
            name = f"{split}/{estimate.key}{'' if self.against == 'held-out' else '_on_train'}"
            found |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        return found

    def keep_best(self, trainer: Trainer, found: Estimate | None) -> None:
        """Writes best.ckpt where this is the best so far."""
        if found is not None and (self.best is None or found.beats(self.best)):
            self.best, self.best_images = found.value, self.measured
            save_whole(trainer, Path(trainer.default_root_dir) / "best.ckpt")

    def stop_in_vain(self, trainer: Trainer) -> None:
        """Ends the training where nothing has been better for as long as patience lasts."""
        if self.patience is not None and self.measured - self.best_images >= self.patience:
            trainer.should_stop = True
            since = f"no better in the {self.measured - self.best_images:,} since (patience {self.patience:,})"
            self.stopped = (
                f"{self.monitored} was best after {self.best_images:,} images ({self.best:.4g}) and {since}; best.ckpt "
                "has those weights"
                if self.best is not None
                else f"{self.monitored} could never be measured"
            )

    def prepare(self, trainer: Trainer, model: LightningModule, split: Literal["val", "test"]) -> None:
        if trainer.is_global_zero:
            writable_folder(trainer.default_root_dir, "The folder of the report")
        self.look_at_reals(trainer, model, split, self.n_test)
        for subject in self.subjects:
            subject.check(self.metrics or [])

    def assess(self, trainer: Trainer, model: LightningModule, split: Literal["val", "test"]) -> None:
        """The report of a test: `report.json` and `report.html` in the Trainer's folder."""
        with bar_of(trainer, "evaluation") as step:
            ranks = Ranks.of(trainer)
            found = [assess(subject, self.metrics, self.extractor, ranks, step) for subject in self.subjects]
        if not trainer.is_global_zero:
            return
        about = self.extractor.name, trainer.datamodule, trainer.ckpt_path, trainer.callback_metrics
        self.report = report_of(found, self.subjects, split, self.against, *about)
        folder = Path(trainer.default_root_dir)
        self.report.write(folder)
        ways = [subject.prefix for subject in self.subjects]
        write_html(self.report, {way: one.pictures for way, one in zip(ways, found, strict=True)}, folder)
        for logger in trainer.loggers:
            logger.log_metrics(self.named(self.report.estimates, split), step=0)


def monitored(name: str, metrics: Sequence[Metric], subjects: Sequence[Subject]) -> str:
    """The whole name of the number that best.ckpt goes by; of several ways to make images it is the first's.

    Raises:
        UserError: None of the metrics has such a number.
    """
    known = [subject.prefix + number for subject in subjects for metric in metrics for number in metric.better]
    found = [number for number in known if number == name or number.endswith(f"_to_b_{name}")]
    if not found:
        raise UserError(
            f"Evaluation: monitor is {name!r}, but the metrics have {', '.join(known)}.{nearest(name, known)}\nType "
            f"monitor: {known[0]}, say."
        )
    return found[0]
