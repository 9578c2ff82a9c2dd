"""Batches and their order: a run that goes on meets its images, and their augmentation, as if it had never stopped."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler


def keep_batch(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The collate function for data sets that give whole batches."""
    return batch


def settings(num_workers: int) -> dict[str, Any]:
    """What all loaders of data sets that give whole batches have in common."""
    return {
        "num_workers": num_workers,
        "collate_fn": keep_batch,
        "pin_memory": torch.cuda.is_available(),
        "persistent_workers": num_workers > 0,
    }


class Numbered(Dataset):
    """A data set whose rows are counted on through the epochs: number n is row n % length in epoch n // length.

    What is drawn for a batch, such as its flips, is a function of the seed and of the batch's first number, which no
    other batch has: neither the batches before it nor the process that reads it matter.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        """Count the rows of a data set.

        Args:
            dataset: It gives whole batches, and draws by torch's generator.
            seed: Of what it draws, 0 or more.
        """
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, numbers: Sequence[int]) -> tuple[Tensor, ...]:
        """The batch of these numbers; torch's random stream stays where it is."""
        with torch.random.fork_rng(devices=[]):
            # Mixed, for neighbours to be unlike; torch's generator has seeds of 32 bits.
            torch.default_generator.manual_seed(zlib.crc32(f"{self.seed} {numbers[0]}".encode()))
            return self.dataset.__getitems__([number % len(self.dataset) for number in numbers])


class RunSampler(DistributedSampler):
    """The numbers of a process's train images, in an order that is a function of the seed and the epoch.

    Its first pass leaves out as many as an interrupted epoch has had already.
    """

    def __init__(self, dataset: Dataset, seed: int, rank: int = 0, processes: int = 1, start: int = 0) -> None:
        """Order the rows of a data set.

        Args:
            dataset: Whose rows.
            seed: Of the order, the same in all processes.
            rank: This process.
            processes: How many share the images.
            start: How many numbers its first pass leaves out.
        """
        super().__init__(dataset, processes, rank, seed=seed)
        self.start = start

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        first = self.epoch * len(self.dataset)
        return (first + row for row in islice(super().__iter__(), start, None))


class RunLoader(DataLoader):
    """Reads nothing before its first batch is asked for: a Trainer calls `iter` before it tells a sampler the epoch.

    Its place within the epoch is the Trainer's own count of batches, see `batches_done`. The two methods are how
    Lightning knows that a loader can go on within an epoch.
    """

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Nothing that the Trainer does not count."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to do."""


class RunDataModule(LightningDataModule, ABC):
    """Base: loaders of data sets that give whole batches.

    Attributes:
        order_seed: Of the order of train images and of what is drawn for them; the run's seed, kept in its checkpoints.
    """

    batch_size: int
    num_workers: int
    order_seed = 0

    def setup(self, stage: str | None = None) -> None:
        """Take the run's seed, before each process gets its own random stream."""
        self.order_seed = torch.initial_seed() % 2**32

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of the data."""
        return {"order_seed": self.order_seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run keeps the order that it began with."""
        self.order_seed = int(state_dict["order_seed"])

    @abstractmethod
    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, all of batch_size."""

    def loader(self, dataset: Dataset | None) -> DataLoader:
        """Every row once, in order."""
        # Loaders draw the seed of their workers: by a generator of their own they leave the run's random stream alone.
        own = torch.Generator().manual_seed(self.order_seed)
        return DataLoader(_opened(dataset), self.batch_size, generator=own, **settings(self.num_workers))

    def shuffled_loader(self, dataset: Dataset | None) -> DataLoader:
        """This process's share of the rows in random order, in batches that are all of batch_size.

        Outside a run the order is torch's own, anew in each pass.
        """
        shared = {"batch_size": self.batch_size, "drop_last": True, **settings(self.num_workers)}
        if self.trainer is None:
            return DataLoader(_opened(dataset), shuffle=True, **shared)
        start = batches_done(self.trainer) * self.batch_size
        process = self.trainer.global_rank, self.trainer.world_size
        sampler = RunSampler(_opened(dataset), self.order_seed, *process, start)
        own = torch.Generator().manual_seed(self.order_seed)
        return RunLoader(Numbered(dataset, self.order_seed), sampler=sampler, generator=own, **shared)


def batches_done(trainer: Trainer) -> int:
    """How many batches of its epoch a run had trained on when it was interrupted; 0 where an epoch begins."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    whole = progress.is_last_batch and progress.current.ready == progress.current.processed
    return progress.current.processed if trainer.fit_loop.restarting and not whole else 0


def _opened(dataset: Dataset | None) -> Dataset:
    if dataset is None:
        raise RuntimeError("call prepare_data() and setup() before asking for batches")
    return dataset
