"""Features of many images: the same whoever computes them, of the images themselves, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from labelled import Rows
from PIL import Image
from tiny_extractor import TinyExtractor
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from datamodules.image_folder import ImageFolder
from datamodules.transforms import to_float, to_uint8
from lit_gen.errors import UserError
from lit_gen.feature_store import FeatureSet, entry_for, new_file, read_through
from lit_gen.metrics.features import extractor_digest, features_of_batches, features_of_set
from lit_gen.ranks import Ranks

ONE = Ranks()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def noise(n: int, channels: int = 1) -> Tensor:
    return to_float(torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8))


def made(images: Tensor) -> Callable[[slice], list[Tensor]]:
    return lambda share: list(images.split(64))[share]


def passes(extractor: nn.Module) -> list[int]:
    """How many images each call of the extractor sees from now on."""
    seen: list[int] = []
    extractor.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_rows_are_those_of_each_image_by_itself(n: int, tmp_path: Path) -> None:
    images, extractor, told = noise(n), TinyExtractor(), []
    alone = torch.cat([extractor(image[None]) for image in images])
    labels = torch.arange(n) % 3
    of_set = features_of_set(Rows(images, labels), extractor, ONE, step=told.append)
    generated = features_of_batches(made(images), n, extractor, tmp_path, ONE)
    for rows in (of_set.features, generated):
        assert rows.dtype == torch.float32 and not rows.is_inference()
        torch.testing.assert_close(rows, alone, rtol=1e-6, atol=1e-6)
    assert torch.equal(of_set.labels, labels) and sum(told) == n
    order = torch.randperm(n)
    shuffled = features_of_set(Rows(images[order], None), extractor, ONE)
    torch.testing.assert_close(shuffled.features, alone[order], rtol=1e-6, atol=1e-6)
    assert shuffled.labels is None


def test_a_set_passes_through_the_extractor_once(cache: Path) -> None:
    images, extractor = noise(70), TinyExtractor()
    seen = passes(extractor)
    first = features_of_set(Rows(images, None), extractor, ONE)
    again = features_of_set(Rows(images.clone(), None), TinyExtractor(), ONE)
    assert sum(seen) == 70 and first.digest == again.digest and torch.equal(first.features, again.features)
    other = TinyExtractor()
    other.conv.bias[2] += 1e-3
    assert not torch.equal(features_of_set(Rows(images, None), other, ONE).features, first.features)
    renamed = TinyExtractor()
    renamed.name = "tiny_64px"
    assert len({extractor_digest(found) for found in (extractor, other, renamed)}) == 3
    assert len(list(cache.iterdir())) == 2


def photographs(root: Path, n: int = 20) -> Path:
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(n):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / f"{index:02}.png")
    return root


def held_out(root: Path) -> object:
    data = ImageFolder(str(root), image_size=16, batch_size=4, val_fraction=0.0, test_fraction=0.5)
    data.prepare_data()
    data.setup()
    return data.test_set


def test_a_changed_byte_counts_and_a_moved_folder_does_not(tmp_path: Path, cache: Path) -> None:
    root, extractor = photographs(tmp_path / "photos"), TinyExtractor()
    seen = passes(extractor)
    first = features_of_set(held_out(root), extractor, ONE)
    moved = shutil.copytree(root, tmp_path / "elsewhere" / "photos")
    shutil.rmtree(root)
    again = features_of_set(held_out(moved), extractor, ONE)
    assert sum(seen) == 10 and torch.equal(again.features, first.features)

    test_set = held_out(moved)
    pixels = np.array(test_set.pixels)
    pixels[test_set.rows[3], 1, 2, 5] ^= 1
    test_set.pixels = pixels
    changed = features_of_set(test_set, extractor, ONE)
    assert sum(seen) == 20 and changed.digest != first.digest
    rows = (changed.features != first.features).any(1).nonzero().flatten().tolist()
    assert rows == [3]
    assert len(list(cache.iterdir())) == 2


def test_what_a_set_draws_at_random_is_the_same_each_time() -> None:
    augmented, extractor = Rows(noise(100), None, noise=0.5), TinyExtractor()
    before = torch.get_rng_state()
    first = features_of_set(augmented, extractor, ONE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    again = features_of_set(augmented, extractor, ONE)
    assert first.digest == again.digest
    assert not torch.equal(first.features, features_of_set(Rows(augmented.images, None), extractor, ONE).features)


def test_the_second_domain_of_a_set_of_two() -> None:
    a, b = noise(70), noise(70, channels=3)
    pairs = Rows(a, b)
    extractor = TinyExtractor()
    for position, images in enumerate((a, b)):
        found = features_of_set(pairs, extractor, ONE, position)
        torch.testing.assert_close(found.features, extractor(images))
        assert found.labels is None
    assert read_through(pairs)[1] == ()  # a second domain is not held in memory


def test_only_whole_numbers_are_labels() -> None:
    heights = torch.rand(70)
    assert features_of_set(Rows(noise(70), heights), TinyExtractor(), ONE).labels is None


def test_generated_images_are_rounded_as_files_are(tmp_path: Path) -> None:
    images, extractor = 1.5 * torch.randn(70, 1, 8, 8), TinyExtractor()
    found = features_of_batches(made(images), 70, extractor, tmp_path, ONE)
    torch.testing.assert_close(found, extractor(to_float(to_uint8(images))))
    assert (found - extractor(images)).abs().max() > 1e-3


class Blind(TinyExtractor):
    """Sees nothing of it, as one that rounds to whole numbers does."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.nan_to_num())


def test_images_that_are_not_finite_are_counted(tmp_path: Path, cache: Path) -> None:
    images = noise(70)
    images[65, 0, 1, 1], images[69] = torch.nan, torch.inf
    with pytest.raises(UserError, match="2 of 6 images not finite among generated.*the generator has diverged"):
        features_of_batches(made(images), 70, TinyExtractor(), tmp_path, ONE)
    with pytest.raises(UserError, match="2 of 6 images not finite among images of the data"):
        features_of_set(Rows(images, None), Blind(), ONE)
    assert list(cache.glob("*")) == list(tmp_path.glob("*.npy")) == []
    with pytest.raises(UserError, match="without images"):
        features_of_set(Rows(images[:0], None), TinyExtractor(), ONE)


def test_a_file_that_was_not_filled_never_appears(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    with pytest.raises(AssertionError), new_file(path, 5) as add:
        add(torch.zeros(3, 2))
    assert list(tmp_path.glob("*.npy")) == []


def share_work(rank: int, images: Tensor, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    ranks, extractor = Ranks(rank, 2), TinyExtractor()
    seen = passes(extractor)
    of_set = features_of_set(Rows(images, None), extractor, ranks)
    generated = features_of_batches(made(images), len(images), extractor, folder, ranks)
    assert features_of_set(Rows(images, None), extractor, ranks) is None or rank == 0
    ranks.barrier()
    assert sum(seen) == [256, 144][rank]  # each image in one process, and from the cache in none
    broken = images.clone()
    broken[130] = torch.nan  # process 0 makes it, and both say so
    with pytest.raises(UserError, match="1 of 72 images"):
        features_of_batches(made(broken), len(images), extractor, folder, ranks)
    nowhere = folder / "meeting" / "below"  # a file, and process 0 alone would want to write there
    with pytest.raises(UserError, match="LIT_GEN_CACHE"):
        features_of_batches(made(images), len(images), extractor, nowhere, ranks)
    assert ranks.broadcast({"rank": rank}) == {"rank": 0}
    if rank == 0:
        torch.save((of_set.features, generated), folder / "both.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_write_what_one_does(tmp_path: Path, cache: Path) -> None:
    images = noise(64 * 3 + 8)
    start_processes(share_work, (images, tmp_path), nprocs=2, start_method="fork")
    alone = features_of_batches(made(images), len(images), TinyExtractor(), tmp_path, ONE)
    for found in torch.load(tmp_path / "both.pt"):
        assert torch.equal(found, alone)
    assert len(list(cache.iterdir())) == 1


def race(rank: int, images: Tensor, folder: Path) -> None:
    torch.set_num_threads(1)
    (folder / f"ready{rank}").touch()
    while not (folder / f"ready{1 - rank}").exists():
        os.sched_yield()
    found = features_of_set(Rows(images, None), TinyExtractor(), ONE)
    torch.save(found.features, folder / f"found{rank}.pt")


def test_two_runs_may_write_one_entry_at_once(tmp_path: Path, cache: Path) -> None:
    images, extractor = noise(2000), TinyExtractor()
    start_processes(race, (images, tmp_path), nprocs=2, start_method="fork")
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"found{rank}.pt"), extractor(images))
    digest = features_of_set(Rows(images, None), extractor, ONE).digest
    path = entry_for(digest, extractor_digest(extractor))
    assert list(cache.iterdir()) == [path] and len(FeatureSet(path, ())) == 2000
