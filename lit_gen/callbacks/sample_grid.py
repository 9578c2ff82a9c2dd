"""Pictures of what the model makes, from latents and held-out images that stay the same during the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torchvision.utils import save_image

from lit_gen.errors import UserError
from lit_gen.pictures import held_out, image_grid, spread

MOST = 10_000  # images in a grid: they are made at once, and shown at once


class SampleGrid(Callback):
    """Writes `samples/images_<images seen>.png` from fixed latents, and shows it to the loggers that take images.

    A model that makes images in further ways, such as reconstructions of held-out ones, gets a grid for each of them.

    Args:
        every: Images between two grids; the end of training always makes one.
        n: Number of images in a grid.
        seed: Seed of the latents.
    """

    def __init__(self, every: int = 10_000, n: int = 64, seed: int = 0) -> None:
        if every < 1 or not 1 <= n <= MOST:
            raise UserError(
                f"SampleGrid: every is {every} and n is {n}, expected every of at least 1, and n of 1 to {MOST:,}.\n"
                "Type every: 10_000 and n: 64, say."
            )
        self.every = every
        self.n = n
        self.seed = seed
        self.drawn = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn = pl_module.images_seen

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # The last grid waits for what other callbacks do at the end, such as fitting a mixture.
        if pl_module.images_seen // self.every > self.drawn // self.every and not trainer.should_stop:
            self.draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.images_seen > self.drawn:
            self.draw(trainer, pl_module)

    def draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn = pl_module.images_seen
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data = trainer.datamodule
        dataset = held_out(data, "val_set", "train_set")
        for number, mode in enumerate(pl_module.modes):
            source = spread(dataset, self.n) if dataset is not None else None
            grid = image_grid(pl_module.make(mode, self.n, self.seed, source=source), self.n)
            path = Path(trainer.default_root_dir) / "samples" / f"{mode if number else 'images'}_{self.drawn:09d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(grid, path)
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    caption = [f"{self.drawn:,} images seen"]
                    logger.log_image(key=mode if number else "samples", images=[str(path)], caption=caption)
