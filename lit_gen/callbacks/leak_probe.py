"""A watch on augmentation: do augmented looks appear in what the generator makes?"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import Dataset

from lit_gen.callbacks.bar import bar_of
from lit_gen.callbacks.throughput import left_out
from lit_gen.errors import UserError
from lit_gen.feature_store import BATCH, batch_of
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.evidence import workplace
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.features import features_of_batches, features_of_set
from lit_gen.metrics.leaks import MARGIN, can_be_told, leak
from lit_gen.metrics.subject import Subject, few, subjects_of
from lit_gen.ranks import Ranks

Transform = Callable[[Tensor], Tensor]
Make = Callable[[slice], Iterable[Tensor]]


@dataclass(frozen=True)
class Watch:
    """One kind of augmentation, and what its look is told by; the features are there in the first process alone.

    Attributes:
        name: As it is logged.
        transform: Images (B, C, H, W) -> the same, all of them augmented.
        subject: Whose samples are looked at.
        train: Features of train images, (M, F).
        train_changed: Of the same, augmented.
        held_out: Of held-out images, (N, F).
    """

    name: str
    transform: Transform
    subject: Subject
    train: Tensor | None
    train_changed: Tensor | None
    held_out: Tensor | None


class LeakProbe(Callback):
    """Says when augmented looks appear in the samples (leaks: Karras et al. 2020, arXiv:2006.06676, section 2.2).

    For each kind of the model's augmentation a logistic regression on an extractor's features learns to tell images
    with that one kind from images without. `val/leak_<kind>` is the share of samples that it takes for augmented less
    the share of held-out real images that it does; 0 or less is as it should be. Kinds that it cannot tell on held-out
    images, such as the flip of what has no handedness, are not watched.

    Args:
        every: Images between two looks; the end of training always has one.
        n: Samples for each look, 2 or more, and the most train and held-out images to learn and to check by.
        extractor: The network whose features are compared; EfficientNet-Lite0 on 128 pixels by default.
        limit: The share above which it warns, once for each kind, in (0, 1).
        seed: Of the latents, and of what is drawn to augment images.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        every: int = 20_000,
        n: int = 256,
        extractor: Extractor | None = None,
        limit: float = 0.1,
        seed: int = 0,
    ) -> None:
        for name, value, least in (("every", every, 1), ("n", n, 2)):
            if value < least:
                raise UserError(f"LeakProbe: {name} is {value}, expected at least {least}, e.g. {name}: 256.")
        if not 0 < limit < 1:
            raise UserError(f"LeakProbe: limit is {limit}, expected a share between 0 and 1. Type limit: 0.1, say.")
        self.every, self.n = every, n
        self.extractor = extractor
        self.limit = limit
        self.seed = seed
        self.measured = 0  # images seen at the last look
        self.warned: list[str] = []
        self.watched: list[Watch] = []

    def state_dict(self) -> dict[str, Any]:
        return {"measured": self.measured, "warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds out which augmented looks can be told at all, before the training begins."""
        check_augments(pl_module)
        check_sets(trainer.datamodule)
        self.extractor = (self.extractor or EfficientNetExtractor()).to(pl_module.device)
        about, ranks = (trainer.datamodule, "val", self.n, self.seed, "held-out"), Ranks.of(trainer)
        with bar_of(trainer, "augmented looks") as step:
            subjects = subjects_of(pl_module, *about, self.extractor, ranks, step)
            self.watched = [
                watch for subject in subjects for watch in self.watches(subject, pl_module.augment.kinds, ranks, step)
            ]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.images_seen // self.every > self.measured // self.every and not trainer.should_stop:
            self.look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.images_seen > self.measured:
            self.look(trainer, pl_module)

    def watches(
        self, subject: Subject, kinds: dict[str, Transform], ranks: Ranks, step: Callable[[int], Any]
    ) -> Iterator[Watch]:
        """The kinds of augmentation that can be told on real images."""
        sets = few(subject.reals.train, self.n), few(subject.reals.images, self.n)
        found = [features_of_set(images, self.extractor, ranks, step=step) for images in sets]
        train, held_out = (rows and rows.features for rows in found)
        for kind, transform in kinds.items():
            train_changed, held_out_changed = (
                self.features(self.changed(in_batches(images), transform), len(images), ranks, step) for images in sets
            )
            if ranks.first(can_be_told, train, train_changed, held_out, held_out_changed):
                yield Watch(subject.prefix + kind, transform, subject, train, train_changed, held_out)
            else:
                rank_zero_info(f"LeakProbe: {self.extractor.name} cannot tell {kind} here, so it is not watched.")

    def changed(self, make: Make, transform: Transform) -> Make:
        """Images with one kind of augmentation, the same each time; the run's random stream stays as it was."""

        def make_changed(turns: slice) -> Iterator[Tensor]:
            for turn, images in enumerate(make(turns)):
                with torch.random.fork_rng(devices=[]):
                    torch.default_generator.manual_seed(self.seed + turns.start + turn * turns.step)
                    changed = transform(images.cpu())
                yield changed

        return make_changed

    def features(self, make: Make, n: int, ranks: Ranks, step: Callable[[int], Any]) -> Tensor | None:
        """(n, F) in the first process, None in the others."""
        with tempfile.TemporaryDirectory(dir=workplace()) as folder:
            rows = features_of_batches(make, n, self.extractor, Path(folder), ranks, step)
            return None if rows is None else rows.clone()

    def look(self, trainer: Trainer, model: LightningModule) -> None:
        """One look at the samples: logged, and warned of."""
        self.measured = model.images_seen
        if trainer.fast_dev_run:
            return
        try:
            with left_out(trainer):
                found = self.leaks(trainer)
        except UserError as error:  # the model has diverged: whoever trains it decides what becomes of the run
            rank_zero_warn(str(error))
            return
        shares = {f"val/leak_{name}": share for name, (share, _) in found.items()}
        for logger in trainer.loggers:
            logger.log_metrics(shares, step=trainer.fit_loop.total_batch_idx)
        for name, (share, error) in found.items():
            if share - MARGIN * error > self.limit and name not in self.warned:
                self.warn(name, share)

    def leaks(self, trainer: Trainer) -> dict[str, tuple[float, float]]:
        """Each kind's share and its standard error, the same in all processes."""
        ranks, samples, found = Ranks.of(trainer), {}, {}
        with bar_of(trainer, "augmented looks") as step:
            for watch in self.watched:
                make, n = watch.subject.batches, watch.subject.n
                if watch.subject.mode not in samples:
                    samples[watch.subject.mode] = self.features(make, n, ranks, step)
                changed = self.features(self.changed(make, watch.transform), n, ranks, step)
                rows = samples[watch.subject.mode], changed, watch.held_out
                found[watch.name] = ranks.first(leak, watch.train, watch.train_changed, *rows)
        return found

    def warn(self, name: str, share: float) -> None:
        """Once for each kind."""
        self.warned.append(name)
        rank_zero_warn(
            f"LeakProbe: augmented looks appear in the samples: {share:.0%} more of them than of held-out real images "
            f"seem to have been through {name} (limit {self.limit:.0%}).\nLook at a grid. If it shows, take ADA for "
            f"DiffAugment, lower ADA's `most`, or leave {name} out of DiffAugment's policy."
        )


def in_batches(images: Dataset) -> Make:
    """A set's images, (B, C, H, W) at a time."""
    return lambda turns: (batch_of(images, number)[0] for number in range(math.ceil(len(images) / BATCH))[turns])


def check_augments(model: LightningModule) -> None:
    """Refuses a model that augments nothing.

    Raises:
        UserError: There is no augmentation.
    """
    if getattr(model, "augment", None) is None:
        raise UserError(
            f"LeakProbe: {type(model).__name__} has no augmentation whose looks could leak, expected one.\nType "
            "--model.augment ADA, say, or leave LeakProbe out of the callbacks."
        )


def check_sets(data: Any) -> None:
    """Refuses data without images to learn or to check by.

    Raises:
        UserError: There are no train images, or no validation images.
    """
    missing = [split for split in ("train", "val") if not getattr(data, f"{split}_set", None)]
    if missing:
        raise UserError(
            f"LeakProbe: found no {missing[0]} images in {type(data).__name__}, expected some to tell augmented looks "
            f"by.\nType --data.{missing[0]}_fraction 0.1, or leave LeakProbe out of the callbacks."
        )
