"""Callbacks that a run on two processes is given by name, as a user would give their own from PYTHONPATH."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Spy(Callback):
    """Every rank writes down what it holds at the end, and what it drew and was dealt at first."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.noise, self.pools = torch.randn(4), _pools(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = {"state": pl_module.state_dict(), "noise": self.noise, "root": trainer.default_root_dir}
        found |= {"pools at first": self.pools, "pools": _pools(pl_module), **self.more()}
        torch.save(found, self.folder / f"rank{trainer.global_rank}.pt")

    def more(self) -> dict[str, Any]:
        return {}


class BatchSpy(Spy):
    """Also what it trained on."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.seen: list[torch.Tensor] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: list[torch.Tensor], batch_idx: int
    ) -> None:
        self.seen.append(batch[0])

    def more(self) -> dict[str, Any]:
        return {"seen": torch.cat(self.seen)}


def _pools(model: LightningModule) -> dict[str, torch.Tensor]:
    pools = getattr(model, "pools", {})
    return {name: pool.images.clone() for name, pool in pools.items() if pool.images is not None}
