"""A data module of small random images with labels that can be learnt: class k is brighter than class k - 1."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Rows(Dataset):
    """Whole batches, as the project's sets give them; `noise` is augmentation that sees each image anew."""

    def __init__(self, images: Tensor, labels: Tensor | None, noise: float = 0.0) -> None:
        self.images, self.labels, self.noise = images, labels, noise

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, ...]:
        images = self.images[rows]
        if self.noise:
            images = images + self.noise * torch.randn_like(images)
        return (images,) if self.labels is None else (images, self.labels[rows])


class LabelledNoise(LightningDataModule):
    """`n` train images and half as many of both other splits, (1, 28, 28) in [-1, 1]."""

    image_shape = (1, 28, 28)

    def __init__(
        self, n: int = 24, n_classes: int = 3, labels: bool = True, noise: float = 0.0, batch_size: int = 8
    ) -> None:
        super().__init__()
        self.n_classes, self.batch_size, self.horizontal_flip = n_classes, batch_size, False
        self.class_names = [f"class {k}" for k in range(n_classes)]
        random = torch.Generator().manual_seed(7)
        self.train_set, self.val_set, self.test_set = (
            self.rows(size, labels, noise if size == n else 0.0, random) for size in (n, n // 2, n // 2)
        )

    def rows(self, n: int, labels: bool, noise: float, random: torch.Generator) -> Rows:
        numbers = torch.arange(n) % self.n_classes
        brightness = (numbers.float() / (self.n_classes - 1) * 2 - 1).view(-1, 1, 1, 1)
        images = (brightness + 0.3 * torch.randn(n, *self.image_shape, generator=random)).clamp(-1, 1)
        return Rows(images, numbers if labels else None, noise)

    def loader(self, rows: Rows, shuffle: bool = False) -> DataLoader:
        return DataLoader(rows, self.batch_size, shuffle=shuffle, collate_fn=lambda batch: batch)

    def train_dataloader(self) -> DataLoader:
        return self.loader(self.train_set, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.val_set)

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.test_set)


def quiet_trainer(**options) -> Trainer:
    """A Trainer on the CPU that writes and shows nothing."""
    return Trainer(accelerator="cpu", **{**QUIET, "max_epochs": 2, **options})
