"""Learning-rate schedules in images seen, for every optimizer of a model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_gen.errors import UserError


class Schedule(Callback, ABC):
    """Base: each optimizer's own learning rate times a factor of the images seen.

    The factor is a function of the images seen alone, so that a resumed run has the rates of an uninterrupted one.
    """

    @abstractmethod
    def factor(self, images_seen: int, max_images: int) -> float:
        """What the learning rates are multiplied by, in [0, 1]."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if getattr(pl_module, "max_images", None) is None:
            raise UserError(
                f"{type(self).__name__} needs to know when the run ends, but model.max_images is not set. Type "
                "--model.max_images 200000."
            )
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])  # saved with the optimizer, and so still there on resume

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        factor = self.factor(pl_module.images_seen, pl_module.max_images)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]


class LinearDecay(Schedule):
    """Constant, then linear to zero at `max_images` (Zhu et al. 2017, arXiv:1703.10593, section 4).

    Args:
        start: Share of `max_images` at which the decay begins, in [0, 1).
    """

    def __init__(self, start: float = 0.5) -> None:
        check_share(self, start)
        self.start = start

    def factor(self, images_seen: int, max_images: int) -> float:
        """1 up to `start`, 0 at the end."""
        return min(1.0, max(0.0, (1 - images_seen / max_images) / (1 - self.start)))


class CosineDecay(Schedule):
    """Linear warm-up, constant, then half a cosine to zero at `max_images` (Loshchilov & Hutter 2017, eq. 5).

    Args:
        start: Share of `max_images` at which the decay begins, in [0, 1).
        warm_up: Images over which the rates rise from zero; 0 turns it off.
    """

    def __init__(self, start: float = 0.0, warm_up: int = 0) -> None:
        check_share(self, start)
        if warm_up < 0:
            raise UserError(f"CosineDecay: warm_up is {warm_up}, expected 0 or more images. Type warm_up: 0.")
        self.start = start
        self.warm_up = warm_up

    def factor(self, images_seen: int, max_images: int) -> float:
        """Rises to 1 over `warm_up` images, 1 up to `start`, 0 at the end."""
        place = min(1.0, max(0.0, (images_seen / max_images - self.start) / (1 - self.start)))
        rise = min(1.0, (images_seen + 1) / self.warm_up) if self.warm_up else 1.0
        return rise * 0.5 * (1 + math.cos(math.pi * place))


def check_share(schedule: Schedule, start: float) -> None:
    """Refuses a decay that would begin before the run or with its end."""
    if not 0 <= start < 1:
        raise UserError(
            f"{type(schedule).__name__}: start is {start}, expected a share of max_images in [0, 1). Type start: 0.5."
        )
