"""A picture of what the model makes from latents that stay the same during the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.utils import make_grid, save_image

from lit_gen.errors import UserError


class SampleGrid(Callback):
    """Writes `samples/images_<images seen>.png` from fixed latents, and shows it to the loggers that take images.

    Args:
        every: Images between two grids; the end of training always makes one.
        n: Number of images in the grid.
        seed: Seed of the latents.
    """

    def __init__(self, every: int = 10_000, n: int = 64, seed: int = 0) -> None:
        if every < 1 or n < 1:
            raise UserError(f"SampleGrid: every is {every} and n is {n}, but both need to be at least 1.")
        self.every = every
        self.n = n
        self.seed = seed
        self.drawn = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn = pl_module.images_seen

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.images_seen // self.every > self.drawn // self.every:
            self.draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.images_seen > self.drawn:
            self.draw(trainer, pl_module)

    def draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn = pl_module.images_seen
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        grid = image_grid(pl_module.sample(self.n, seed=self.seed))
        path = Path(trainer.default_root_dir) / "samples" / f"images_{self.drawn:09d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(grid, path)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(key="samples", images=[str(path)], caption=[f"{self.drawn:,} images seen"])


def image_grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Images (n, C, H, W) in [-1, 1] side by side, in a square by default: one image (C', H', W') in [0, 1]."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    return make_grid(images.float().cpu(), nrow=columns, normalize=True, value_range=(-1, 1), pad_value=0.5)
