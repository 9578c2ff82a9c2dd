"""Fits the Gaussian mixture that a VAE samples from beside its prior."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.pictures import rows_of

BATCH = 256  # images that are encoded at a time


class PosteriorMixture(Callback):
    """At the end of training, fits the model's mixture to draws from q(z|x) over training images, by the EMA encoder.

    A density fitted to where the encoder puts the images, instead of the prior, closes the gap between the two
    (Ghosh et al. 2020, arXiv:1903.12436, section 4). It goes before SampleGrid in the list of callbacks, so that the
    last grids show it; checkpoints written before the end of training have no mixture.

    Args:
        n: At most so many images are drawn for.
        seed: Of the draws and of the fit.
    """

    def __init__(self, n: int = 20_000, seed: int = 0) -> None:
        if n < 1:
            raise UserError(f"PosteriorMixture: n is {n}, but at least 1 image is needed, e.g. 20000.")
        self.n = n
        self.seed = seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not hasattr(pl_module, "mixture"):
            raise UserError(
                f"PosteriorMixture: {type(pl_module).__name__} has no mixture to fit. Leave it out of the callbacks."
            )
        pl_module.mixture.clear()  # of a run that goes on: it belongs to weights that are going to change

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        if trainer.is_global_zero:
            draws = self.draws(trainer, pl_module)
            if draws.isfinite().all():  # otherwise there is a checkpoint to be saved, and nothing to fit
                pl_module.mixture.fit(draws, self.seed)
            else:
                rank_zero_warn("PosteriorMixture: the encoder gives values that are not finite; no mixture was fitted.")
        if trainer.world_size > 1 and torch.distributed.is_initialized():
            for buffer in pl_module.mixture.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def draws(self, trainer: Trainer, pl_module: LightningModule) -> Tensor:
        """(N, Z) on the CPU, one draw for each image; torch's random stream goes on as if nothing had happened."""
        found: list[Tensor] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for batch in self.batches(trainer):
                on_device = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
                found.append(pl_module.draw_posterior(on_device).cpu())
                if sum(len(part) for part in found) >= self.n:
                    break
        return torch.cat(found)[: self.n]

    @staticmethod
    def batches(trainer: Trainer) -> Iterable[tuple[Tensor, ...]]:
        """Of all training images at random: the Trainer's own loader has one process's share of them."""
        train_set = getattr(trainer.datamodule, "train_set", None)
        if train_set is None:
            return trainer.train_dataloader
        return (rows_of(train_set, rows.tolist()) for rows in torch.randperm(len(train_set)).split(BATCH))
