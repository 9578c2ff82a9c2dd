"""What a frozen backbone costs and what its cache saves: images/s of EfficientNet-Lite0, and epochs with and without.

    OMP_NUM_THREADS=2 python tests/benchmarks/backbone.py

Random images; one warm-up, then the median of 5 batches, of 32 images and for the metrics' extractor of 64; the epochs
are those of a linear Classifier on 256 images.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset

from lit_gen.callbacks.feature_cache import FeatureCache
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.models.classifier import Classifier
from lit_gen.networks.features import ImageNetFeatures

BATCH, SIZES = 32, (64, 128)
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Images(Dataset):
    """Noise of one size, whole batches at a time."""

    def __init__(self, n: int, size: int) -> None:
        self.images, self.labels = torch.rand(n, 3, size, size) * 2 - 1, torch.arange(n) % 2

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[rows], self.labels[rows]


class Data(LightningDataModule):
    """256 train images."""

    n_classes = 2

    def __init__(self, size: int) -> None:
        super().__init__()
        self.train_set = Images(256, size)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, BATCH, shuffle=True, collate_fn=lambda batch: batch)


class Epochs(Callback):
    """Seconds of each epoch, and of what comes before the first."""

    def __init__(self) -> None:
        self.marks = [time.perf_counter()]

    def on_train_epoch_start(self, trainer: Trainer, model: Classifier) -> None:
        if len(self.marks) == 1:
            self.marks.append(time.perf_counter())

    def on_train_epoch_end(self, trainer: Trainer, model: Classifier) -> None:
        self.marks.append(time.perf_counter())


def seconds(work, times: int = 5) -> float:
    work()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    for stride in (8, 16, None):
        front = ImageNetFeatures(stride=stride).to(memory_format=torch.channels_last)
        for size in SIZES:
            images = torch.rand(BATCH, 3, size, size)
            with torch.no_grad():
                forward = seconds(lambda: front(images))  # noqa: B023 (called at once)
            images.requires_grad_(True)
            both = seconds(lambda: front(images).sum().backward())  # noqa: B023
            speed = f"{BATCH / forward:.0f} images/s, with the gradient of the image {BATCH / both:.0f}"
            print(f"Lite0 to stride {stride or '32, all blocks'}, {size} pixels: {speed}")
    extractor = EfficientNetExtractor()
    for size in SIZES:
        images = torch.rand(64, 3, size, size)
        with torch.inference_mode():
            speed = 64 / seconds(lambda: extractor(images))  # noqa: B023
        print(f"{extractor.name}, images of {size} pixels brought to {extractor.input_size}: {speed:.0f} images/s")
    for callbacks in ([], [FeatureCache()]):
        with tempfile.TemporaryDirectory() as os.environ["LIT_GEN_CACHE"]:
            epochs = Epochs()
            trainer = Trainer(accelerator="cpu", max_epochs=3, callbacks=[epochs, *callbacks], **QUIET)
            trainer.fit(Classifier(ImageNetFeatures(output="mean"), n_classes=2), datamodule=Data(128))
            spent = [f"{end - start:.2f}" for start, end in zip(epochs.marks, epochs.marks[1:], strict=False)]
            what = "with" if callbacks else "without"
            print(f"256 images of 128 pixels {what} FeatureCache: {spent[0]} s before, epochs {', '.join(spent[1:])} s")


if __name__ == "__main__":
    main()
