"""What all data modules share: the contract of a batch, the splits, the few-shot subset, the loaders."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules import memory_map, splits
from datamodules.checks import check_arguments, refuse_overlap, select_classes
from datamodules.errors import UserError
from datamodules.loading import RunDataModule
from datamodules.transforms import to_float


class PixelDataset(Dataset):
    """Rows of one uint8 array as batches in [-1, 1], a whole batch at a time."""

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, labels: np.ndarray | None, flip: bool) -> None:
        """Choose rows.

        Args:
            pixels: (N, C, H, W) uint8, all images of the source, usually mapped from disk.
            rows: (M,) int64, the images of this split.
            labels: (M,) int64, or None for batches without labels.
            flip: Mirror each image left to right with probability 1/2, by torch's generator.
        """
        self.pixels, self.rows, self.flip = pixels, rows, flip
        self.labels = None if labels is None else torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """(images (B, C, H, W) float32 in [-1, 1],), and labels (B,) int64 where they are wanted."""
        indices = np.asarray(indices)
        pixels = torch.from_numpy(self.pixels[self.rows[indices]])
        if self.flip:
            mirrored = torch.rand(len(pixels)) < 0.5
            pixels[mirrored] = pixels[mirrored].flip(-1)
        images = to_float(pixels)
        return (images,) if self.labels is None else (images, self.labels[indices])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return tuple(part[0] for part in self.__getitems__([index]))

    def __getstate__(self) -> dict[str, Any]:
        # A pickled memmap is a copy of the whole file; a worker opens the file by its name instead.
        state = self.__dict__.copy()
        if isinstance(self.pixels, np.memmap):
            state["pixels"] = str(self.pixels.filename)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.pixels, str):
            self.pixels = np.load(self.pixels, mmap_mode="r")


class ImageDataModule(RunDataModule):
    """Images as batches `(images,)` or `(images, labels)`; a data source adds `fingerprint` and `decode`.

    Attributes:
        class_names: The chosen classes; `labels` index it. Filled by `setup`, as are the three data sets.
        train_set: With the horizontal flip and the few-shot subset.
        val_set: Whole, and the same whatever the seed.
        test_set: Likewise.
    """

    advice = ""  # what to type about images that cannot be read, where there is a command for it

    def __init__(
        self,
        image_size: int,
        channels: int,
        batch_size: int = 64,
        classes: list[str | int] | None = None,
        n_images: int | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        horizontal_flip: bool = False,
        labels: bool = False,
        num_workers: int = 0,
    ) -> None:
        """Check and keep the options; nothing is read yet.

        Args:
            image_size: Height and width in pixels that images are brought to.
            channels: 1 for grey, 3 for RGB.
            batch_size: Images in a batch, per process.
            classes: Names of the classes to use, numbered in this order; all by default.
            n_images: Train on this many images only (few-shot), classes in proportion; all by default.
            val_fraction: Part of each class held out for validation, in [0, 1), if the source has no such split.
            test_fraction: Part of each class held out for testing, in [0, 1), if the source has no such split.
            seed: Chooses the n_images; the first 100 are among the first 1,000. Splits do not depend on it.
            horizontal_flip: Mirror train images at random.
            labels: Batches are (images, labels) instead of (images,).
            num_workers: Processes that read batches; 0 is fastest for most sets, since nothing is left to decode.

        Raises:
            UserError: An option makes no sense.
        """
        super().__init__()
        self.save_hyperparameters()
        name = type(self).__name__
        sizes = (image_size, channels, batch_size, classes, n_images)
        check_arguments(name, *sizes, val_fraction, test_fraction, num_workers)
        self.image_size, self.channels, self.batch_size = image_size, channels, batch_size
        self.classes = None if classes is None else [str(name) for name in classes]
        self.n_images, self.seed = n_images, seed
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.horizontal_flip, self.labels, self.num_workers = horizontal_flip, labels, num_workers
        self.class_names: list[str] = []
        self.train_set: PixelDataset | None = None
        self.val_set: PixelDataset | None = None
        self.test_set: PixelDataset | None = None
        self._entry: Path | None = None

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Whatever the pixels depend on besides image_size and channels: a change of it decodes anew."""

    @abstractmethod
    def decode(self, folder: Path) -> None:
        """Download and decode the source into `folder` by `memory_map.save`."""

    @property
    def n_classes(self) -> int:
        """Number of chosen classes; 0 before `setup`."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.channels, self.image_size, self.image_size)

    def prepare_data(self) -> None:
        """Download and decode, unless an earlier run has; on one process of each machine."""
        self._entry = self._find_entry()
        if not self._entry.is_dir():
            with memory_map.new_entry(self._entry) as folder:
                self.decode(folder)

    def setup(self, stage: str | None = None) -> None:
        """Open the decoded images and divide them; further calls do nothing.

        Raises:
            UserError: The options do not fit the data.
        """
        super().setup(stage)
        if self.train_set is not None:
            return
        entry = self._entry or self._find_entry()
        data, name = memory_map.load(entry), type(self).__name__
        self._report_broken(data.broken)
        fractions = self.val_fraction, self.test_fraction
        parts = splits.carve(data.keys, data.labels, data.splits, *fractions, data.contents)
        class_names, labels = select_classes(name, self.classes, data.class_names, data.labels, parts)
        rows = [np.flatnonzero((parts == part) & (labels >= 0)) for part in (splits.TRAIN, splits.VAL, splits.TEST)]
        refuse_overlap(name, entry, data.contents, np.where(labels >= 0, data.splits, splits.BROKEN))
        rows[0] = self._few(rows[0], data.keys, labels)
        self.class_names = class_names
        self.val_set = self._dataset(data.pixels, rows[1], labels, flip=False)
        self.test_set = self._dataset(data.pixels, rows[2], labels, flip=False)
        self.train_set = self._dataset(data.pixels, rows[0], labels, flip=self.horizontal_flip)
        rank_zero_info(self.summary())

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, all of batch_size: a GAN's batch statistics want no small last one."""
        return self.shuffled_loader(self.train_set)

    def val_dataloader(self) -> DataLoader | list:
        """Every validation image once, in order; an empty list where the split is empty."""
        return self.loader(self.val_set) if self.val_set else []

    def test_dataloader(self) -> DataLoader | list:
        """Every test image once, in order; an empty list where the split is empty."""
        return self.loader(self.test_set) if self.test_set else []

    def summary(self) -> str:
        """One line, such as `Mnist5k: 4,000 train, 500 val, 500 test images, 1x28x28, 10 classes`."""
        sizes = [0 if part is None else len(part) for part in (self.train_set, self.val_set, self.test_set)]
        counts = ", ".join(f"{size:,} {name}" for size, name in zip(sizes, ("train", "val", "test"), strict=True))
        shape = "x".join(map(str, self.image_shape))
        classes = f"{self.n_classes} class{'es' if self.n_classes != 1 else ''}"
        return f"{type(self).__name__}: {counts} images, {shape}, {classes}"

    def _find_entry(self) -> Path:
        size = {"image_size": self.image_size, "channels": self.channels}
        return memory_map.entry_for(type(self).__name__, {**size, **self.fingerprint()})

    def _few(self, rows: np.ndarray, keys: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The train rows to use, after a check that they make a batch."""
        name, wanted = type(self).__name__, self.n_images
        if wanted is not None and wanted > len(rows):
            raise UserError(
                f"{name}: n_images is {wanted:,}, but the train split has {len(rows):,} images. Expected at most that; "
                f"type --data.n_images {len(rows)} or leave it out."
            )
        if wanted is not None:
            rows = rows[splits.few_shot(keys[rows], labels[rows], wanted, self.seed)]
        processes = self.trainer.world_size if self.trainer is not None else 1
        if self.batch_size * processes > len(rows):
            times = f" on each of {processes} processes" if processes > 1 else ""
            raise UserError(
                f"{name}: batch_size is {self.batch_size:,}{times}, but there are {len(rows):,} train images. Expected "
                f"at least one full batch; type --data.batch_size {max(1, len(rows) // processes)} or less."
            )
        return rows

    def _dataset(self, pixels: np.ndarray, rows: np.ndarray, labels: np.ndarray, flip: bool) -> PixelDataset:
        return PixelDataset(pixels, rows, labels[rows] if self.labels else None, flip)

    def _report_broken(self, broken: dict[str, str]) -> None:
        if broken:
            shown = "; ".join(f"{name} ({reason})" for name, reason in list(broken.items())[:10])
            more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
            shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)  # names may hold anything
            advice = self.advice and f". {self.advice}"
            rank_zero_warn(f"{type(self).__name__}: refused {len(broken)} broken image(s): {shown}{more}{advice}")
