"""What several processes need beyond averaged gradients: different noise, equal buffers."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.nn.modules.batchnorm import _BatchNorm


class SyncRanks(Callback):
    """Gives each process its own noise, and every process the buffers of rank 0 for validation and at the end.

    Weights are equal by averaged gradients. Batch statistics are synchronised by the Trainer on GPUs; on the CPU torch
    has no SyncBatchNorm, and each process normalises its own batch.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        # Every process was seeded alike so that the weights begin equal; with the same noise all fakes would be twins.
        torch.manual_seed(torch.initial_seed() + trainer.global_rank)
        if pl_module.device.type == "cpu" and any(isinstance(m, _BatchNorm) for m in pl_module.modules()):
            rank_zero_info(
                f"{trainer.world_size} CPU processes: torch has no SyncBatchNorm on the CPU, so each process "
                "normalises its own batch; running statistics follow rank 0."
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._share_buffers(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._share_buffers(trainer, pl_module)

    def _share_buffers(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1 and torch.distributed.is_initialized():
            for buffer in pl_module.buffers():
                torch.distributed.broadcast(buffer, src=0)
