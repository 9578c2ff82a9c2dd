"""What every model's training step does beside its mathematics: count images, know when to log, measure gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lit_gen.errors import UserError


def check_max_images(model: nn.Module, max_images: int | None) -> None:
    """Refuses a run that would end before it begins."""
    if max_images is not None and max_images < 1:
        raise UserError(
            f"{type(model).__name__}: max_images is {max_images}, expected at least 1. Type --model.max_images 60000."
        )


def check_gradient_clip(model: nn.Module, gradient_clip: float | None) -> None:
    """Refuses a norm that no gradient can have."""
    if gradient_clip is not None and gradient_clip <= 0:
        raise UserError(
            f"{type(model).__name__}: gradient_clip is {gradient_clip}, expected more than 0. Type "
            "--model.gradient_clip 1."
        )


def check_clipping_precision(model: LightningModule) -> None:
    """Refuses to clip gradients that a loss scaler has multiplied (manual optimization leaves them scaled)."""
    if model.gradient_clip is not None and model.trainer.precision == "16-mixed":
        raise UserError(
            f"{type(model).__name__}: gradient_clip under 16-mixed precision would clip scaled gradients. Type "
            "--trainer.precision bf16-mixed (or 32-true), or leave gradient_clip out."
        )


def count_images(model: LightningModule, images: int) -> None:
    """Adds this batch, over all processes, to `images_seen`, and stops the Trainer at `max_images`."""
    model.images_seen += images * model.trainer.world_size
    if model.max_images is not None and model.images_seen >= model.max_images:
        model.trainer.should_stop = True


def writes_now(trainer: Trainer) -> bool:
    """Whether the Trainer is going to write this batch's metrics; on all others they would only cost time.

    `batch_idx` starts again in every epoch; the Trainer goes by the batches of the whole run.
    """
    every = trainer.log_every_n_steps
    return bool(every) and (trainer.fit_loop.total_batch_idx + 1) % every == 0


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm over all gradients that there are, a scalar."""
    return torch.nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
