"""The order of train images and what is drawn for them: a function of the seed, the epoch and the place in it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.base import PixelDataset
from datamodules.image_folder import ImageFolder
from datamodules.loading import Numbered, RunSampler
from datamodules.unpaired_folders import UnpairedFolders

ROWS = 20


@pytest.fixture
def pixels() -> PixelDataset:
    """Twenty noisy images that are flipped at random."""
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, 1, 4, 4), dtype=np.uint8)
    return PixelDataset(noise, np.arange(ROWS), None, flip=True)


def a_run(rank: int = 0, world_size: int = 1, processed: int | None = None, last: bool = False) -> SimpleNamespace:
    """As much of a Trainer as loaders see; `processed` batches of an epoch were done when the run was interrupted."""
    progress = SimpleNamespace(current=SimpleNamespace(ready=processed, processed=processed), is_last_batch=last)
    loop = SimpleNamespace(restarting=processed is not None, epoch_loop=SimpleNamespace(batch_progress=progress))
    return SimpleNamespace(global_rank=rank, world_size=world_size, fit_loop=loop)


def epoch(loader: DataLoader, number: int) -> list[tuple[Tensor, ...]]:
    """The batches of an epoch, as a Trainer asks for them."""
    iterator = iter(loader)
    loader.sampler.set_epoch(number)  # only now, as Lightning does
    return list(iterator)


def same(one: list[tuple[Tensor, ...]], other: list[tuple[Tensor, ...]]) -> bool:
    parts = zip(one, other, strict=True)
    return all(torch.equal(a, b) for first, second in parts for a, b in zip(first, second, strict=True))


def test_draws_depend_on_the_seed_and_the_number_alone(pixels: PixelDataset) -> None:
    numbers = list(range(2 * ROWS, 3 * ROWS))
    (first,) = Numbered(pixels, 3).__getitems__(numbers)
    torch.manual_seed(9)
    stream = torch.get_rng_state()
    (again,) = Numbered(pixels, 3).__getitems__(numbers)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), stream)
    next_epoch = [number + ROWS for number in numbers]
    for (other,) in (Numbered(pixels, 4).__getitems__(numbers), Numbered(pixels, 3).__getitems__(next_epoch)):
        assert not torch.equal(first, other)
        flips = [torch.equal(image, twin.flip(-1)) for image, twin in zip(first, other, strict=True)]
        assert flips == [not torch.equal(image, twin) for image, twin in zip(first, other, strict=True)]


def test_every_epoch_has_every_row_in_an_order_of_its_own(pixels: PixelDataset) -> None:
    sampler = RunSampler(pixels, seed=1)
    passes = []
    for number in (0, 1):
        sampler.set_epoch(number)
        passes.append(list(sampler))
        assert sorted(passes[-1]) == list(range(number * ROWS, (number + 1) * ROWS))
    assert [number % ROWS for number in passes[1]] != passes[0]
    assert list(RunSampler(pixels, seed=2)) != passes[0]


def test_processes_share_the_rows(pixels: PixelDataset) -> None:
    first, second = (list(RunSampler(pixels, 1, rank, 2)) for rank in (0, 1))
    assert sorted(first + second) == list(range(ROWS))


def test_only_the_first_pass_leaves_out_what_was_seen(pixels: PixelDataset) -> None:
    sampler = RunSampler(pixels, seed=1, start=8)
    rest, whole = list(sampler), list(sampler)
    assert rest == whole[8:]
    assert len(whole) == len(sampler) == ROWS


@pytest.mark.parametrize("family", ["pixels", "pairs"])
def test_a_run_goes_on_within_an_epoch_with_or_without_workers(family: str, make_folder) -> None:
    """Flips, and partners that are drawn at random, are those of the uninterrupted epoch."""

    def data(num_workers: int, trainer: SimpleNamespace) -> DataLoader:
        options = {"batch_size": 4, "horizontal_flip": True, "num_workers": num_workers}
        if family == "pairs":
            found = UnpairedFolders(str(root), str(others), image_size=8, **options)
        else:
            found = ImageFolder(str(root), image_size=8, **options)
        found.trainer = trainer
        found.prepare_data()
        torch.manual_seed(0)
        found.setup()
        return found.train_dataloader()

    root, others = make_folder("cats", cat=24), make_folder("dogs", dog=16)
    plain, workers = data(0, a_run()), data(2, a_run())
    torch.manual_seed(5)
    epochs = [epoch(plain, number) for number in (0, 1)]
    assert [len(batches) for batches in epochs] == [len(plain)] * 2
    assert not same(*epochs)
    assert all(same(batches, epoch(workers, number)) for number, batches in enumerate(epochs))
    for num_workers in (0, 2):
        resumed = data(num_workers, a_run(processed=3))
        assert same(epoch(resumed, 0), epochs[0][3:])
        assert same(epoch(resumed, 1), epochs[1])
    at_the_end = data(0, a_run(processed=len(plain), last=True))
    assert same(epoch(at_the_end, 1), epochs[1])


def test_the_order_is_the_runs_and_stays_that_of_a_resumed_one(make_folder) -> None:
    data = ImageFolder(str(make_folder(cat=40)), image_size=8, batch_size=4)
    data.trainer = a_run()
    data.prepare_data()
    torch.manual_seed(2)
    data.setup()
    assert data.state_dict() == {"order_seed": 2}
    first = epoch(data.train_dataloader(), 0)
    torch.manual_seed(3)
    data.setup()
    assert not same(epoch(data.train_dataloader(), 0), first)
    data.load_state_dict({"order_seed": 2})
    assert same(epoch(data.train_dataloader(), 0), first)
