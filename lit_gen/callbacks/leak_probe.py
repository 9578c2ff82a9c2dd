"""A watch on augmentation: do augmented looks appear in what the generator makes?"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import Dataset

from lit_gen.callbacks.evaluation import bar_of
from lit_gen.callbacks.throughput import leave_out
from lit_gen.errors import UserError
from lit_gen.feature_store import BATCH, batch_of
from lit_gen.metrics.classification_accuracy import classifier_of
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.evidence import workplace
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.features import features_of_batches, features_of_set
from lit_gen.metrics.subject import Subject, few, subjects_of
from lit_gen.ranks import Ranks

MARGIN = 2.0  # standard errors by which a share has to differ: about one false alarm in forty


@dataclass(frozen=True)
class Judge:
    """Tells images with one kind of augmentation from images without, by their features.

    Attributes:
        name: Of what it tells, as it is logged.
        augmented: Features (N, F) -> (N,) int64: 1 for those that it takes for augmented.
        share: Of the held-out real images that it takes for augmented.
        n: How many these are.
    """

    name: str
    augmented: Callable[[Tensor], Tensor]
    share: float
    n: int


class LeakProbe(Callback):
    """Says when augmented looks appear in the samples (leaks: Karras et al. 2020, arXiv:2006.06676, section 2.2).

    For each kind of the model's augmentation a logistic regression on an extractor's features learns to tell real train
    images with that one kind from the same images without. `val/leak_<kind>` is the share of samples that it takes for
    augmented less the share of held-out real images that it does: 0 is as it should be. Kinds that it cannot tell on
    held-out images, such as the flip of what has no handedness, are not watched. Samples that are poor in other ways
    may look augmented too: read it beside the KID.

    Args:
        every: Images between two looks; the end of training always has one.
        n: Samples for each look, and at most as many train and held-out images to learn and to check by.
        extractor: The network whose features are compared; EfficientNet-Lite0 on 128 pixels by default.
        limit: The share above which it warns, once for each kind, in (0, 1).
        seed: Of the latents, and of what is drawn to augment the real images.

    Raises:
        UserError: An argument is outside these ranges.
    """

    def __init__(
        self,
        every: int = 20_000,
        n: int = 500,
        extractor: Extractor | None = None,
        limit: float = 0.1,
        seed: int = 0,
    ) -> None:
        for name, value in (("every", every), ("n", n)):
            if value < 1:
                raise UserError(f"LeakProbe: {name} is {value}, but at least 1 image is needed, e.g. {name}: 500.")
        if not 0 < limit < 1:
            raise UserError(f"LeakProbe: limit is {limit}, expected a share between 0 and 1. Type limit: 0.1, say.")
        self.every, self.n = every, n
        self.extractor = extractor
        self.limit = limit
        self.seed = seed
        self.measured = 0  # images seen at the last look
        self.warned: list[str] = []
        self.watched: list[tuple[Subject, list[Judge]]] = []  # the judges in the first process alone

    def state_dict(self) -> dict[str, Any]:
        return {"measured": self.measured, "warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learns what augmented real images look like, before the training begins."""
        check_augments(pl_module)
        check_held_out(trainer.datamodule)
        self.extractor = (self.extractor or EfficientNetExtractor()).to(pl_module.device)
        ranks = Ranks.of(trainer)
        with bar_of(trainer, "leak probe") as step:
            subjects = subjects_of(
                pl_module, trainer.datamodule, "val", self.n, self.seed, "held-out", self.extractor, ranks, step
            )
            kinds = pl_module.augment.kinds
            self.watched = [(subject, self.judges_of(subject, kinds, ranks, step)) for subject in subjects]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.images_seen // self.every > self.measured // self.every and not trainer.should_stop:
            self.look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.images_seen > self.measured:
            self.look(trainer, pl_module)

    def judges_of(
        self,
        subject: Subject,
        kinds: dict[str, Callable[[Tensor], Tensor]],
        ranks: Ranks,
        step: Callable[[int], Any],
    ) -> list[Judge]:
        """A judge of each kind that can be told by these features; none but in the first process."""
        sets = few(subject.reals.train, self.n), few(subject.reals.images, self.n)
        plain = [features_of_set(images, self.extractor, ranks, step=step) for images in sets]
        found, blind = [], []
        for kind, transform in kinds.items():
            with tempfile.TemporaryDirectory(dir=workplace()) as folder:
                changed = [
                    features_of_batches(
                        lambda turns, images=images, transform=transform: self.changed(images, transform, turns),
                        len(images), self.extractor, Path(folder), ranks, step,
                    )
                    for images in sets
                ]  # fmt: skip
                if ranks.rank:
                    continue
                judge = judge_of(subject.prefix + kind, *(rows.features for rows in plain), *changed)
            if judge is None:
                blind.append(kind)
            else:
                found.append(judge)
        if blind:
            rank_zero_info(f"LeakProbe: {self.extractor.name} cannot tell {', '.join(blind)}; not watched.")
        return found

    def changed(self, images: Dataset, transform: Callable[[Tensor], Tensor], turns: slice) -> Iterator[Tensor]:
        """A set's images with one kind of augmentation, batch by batch; the run's random stream stays as it was."""
        for number in range(math.ceil(len(images) / BATCH))[turns]:
            batch = batch_of(images, number)[0]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed + number)
                yield transform(batch)

    def look(self, trainer: Trainer, model: LightningModule) -> None:
        """One look at the samples: logged, and warned of."""
        began, self.measured = time.perf_counter(), model.images_seen
        if trainer.fast_dev_run:
            return
        ranks, found = Ranks.of(trainer), {}
        for subject, judges in self.watched:
            with tempfile.TemporaryDirectory(dir=workplace()) as folder, bar_of(trainer, "leak probe") as step:
                try:
                    rows = features_of_batches(subject.batches, subject.n, self.extractor, Path(folder), ranks, step)
                except UserError as error:  # a model that has diverged: Evaluation and its user deal with that
                    rank_zero_warn(str(error))
                    continue
                for judge in judges:
                    share = judge.augmented(rows).double().mean().item()
                    found[f"val/leak_{judge.name}"] = share - judge.share
                    self.warn(judge, share, subject.n)
        for logger in trainer.loggers:
            logger.log_metrics(found, step=trainer.fit_loop.total_batch_idx)
        leave_out(trainer, time.perf_counter() - began)

    def warn(self, judge: Judge, share: float, n: int) -> None:
        """Once for each kind, where no chance explains it."""
        error = math.sqrt(share * (1 - share) / n + judge.share * (1 - judge.share) / judge.n)
        if share - judge.share - MARGIN * error <= self.limit or judge.name in self.warned:
            return
        self.warned.append(judge.name)
        rank_zero_warn(
            f"LeakProbe: augmented looks appear in the samples: {share:.0%} of them seem to have been through "
            f"{judge.name}, of held-out real images {judge.share:.0%}.\nLook at a grid. If it shows, use ADA in place "
            f"of DiffAugment, lower its `most`, or leave {judge.name} out of DiffAugment's policy."
        )


def judge_of(
    name: str, train: Tensor, held_out: Tensor, train_changed: Tensor, held_out_changed: Tensor
) -> Judge | None:
    """A judge learnt from train images with and without a change; None where held-out ones show that it guesses.

    Args:
        name: Of the change.
        train: Features of train images, (M, F).
        held_out: Of held-out ones, (N, F).
        train_changed: Of changed train images, (M, F).
        held_out_changed: Of changed held-out ones, (N, F).
    """
    augmented = classifier_of(torch.cat([train, train_changed]), torch.arange(2).repeat_interleave(len(train)))
    false_alarms, n = augmented(held_out).double().mean().item(), len(held_out)
    accuracy = (1 - false_alarms + augmented(held_out_changed).double().mean().item()) / 2
    if accuracy - MARGIN * math.sqrt(0.25 / (2 * n)) <= 0.5:
        return None
    return Judge(name, augmented, false_alarms, n)


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


def check_held_out(data: Any) -> None:
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
