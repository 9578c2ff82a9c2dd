"""Two domains without pairs: partners, wrap-around, disjoint halves, the truth, folders that do not fit."""

import copy
import inspect

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from datamodules.base import PixelDataset
from datamodules.digit_pair import INK, PAPER, DigitPair, paint
from datamodules.errors import UserError
from datamodules.mnist5k import Mnist5k
from datamodules.transforms import to_uint8
from datamodules.unpaired import UnpairedDataModule, UnpairedDataset
from datamodules.unpaired_folders import UnpairedFolders


def numbered(count: int, first: int = 0) -> PixelDataset:
    """Images that are their own number everywhere."""
    pixels = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    return PixelDataset(pixels, np.arange(count), None, flip=False)


def numbers(images: torch.Tensor) -> list[int]:
    return to_uint8(images)[:, 0, 0, 0].tolist()


def ready(data: UnpairedDataModule) -> UnpairedDataModule:
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def folders(make_folder):
    """folders(6, 4, image_size=8) -> UnpairedFolders of cats and dogs, that many each."""

    def make(a: int, b: int, **options) -> UnpairedFolders:
        root = make_folder(**{name: count for name, count in (("cats", a), ("dogs", b)) if count})
        settings = {"image_size": 8, "batch_size": 2, **options}
        return UnpairedFolders(str(root / "cats"), str(root / "dogs"), **settings)

    return make


# ---- Partners


@pytest.mark.parametrize(("a", "b"), [(7, 3), (3, 7), (5, 5)])
def test_an_epoch_is_the_longer_domain_once_with_random_partners(a: int, b: int) -> None:
    torch.manual_seed(0)
    pairs = UnpairedDataset(numbered(a), numbered(b, first=100), random_partner=True)
    assert len(pairs) == max(a, b)
    seen = set()
    for _ in range(40):
        images_a, images_b = pairs.__getitems__(range(len(pairs)))
        counted, drawn = (images_a, images_b) if a >= b else (images_b, images_a)
        assert numbers(counted) == list(range(100 * (a < b), max(a, b) + 100 * (a < b)))
        seen.update(enumerate(numbers(drawn)))
    assert len(seen) == a * b  # every image has met every one of the other domain


def test_partners_come_from_torchs_generator() -> None:
    pairs = UnpairedDataset(numbered(20), numbered(20), random_partner=True)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(numbers(pairs.__getitems__(range(20))[1]))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("a", "b"), [(5, 2), (2, 5)])
def test_held_out_images_come_in_order_and_the_shorter_domain_starts_again(a: int, b: int) -> None:
    pairs = UnpairedDataset(numbered(a), numbered(b), random_partner=False)
    images_a, images_b = pairs.__getitems__(range(5))
    assert numbers(images_a) == [i % a for i in range(5)]
    assert numbers(images_b) == [i % b for i in range(5)]
    assert numbers(torch.stack([pair[0] for pair in pairs])) == numbers(images_a)
    with pytest.raises(IndexError):
        pairs[5]


def test_a_domain_without_held_out_images_leaves_none_to_look_at(folders) -> None:
    assert len(UnpairedDataset(numbered(5), numbered(0), random_partner=False)) == 0
    data = ready(folders(4, 4, val_fraction=0.0, test_fraction=0.0))
    assert data.val_dataloader() == []
    assert data.test_dataloader() == []


# ---- Digits


def test_the_halves_share_no_digit_and_the_held_out_digits_are_in_both() -> None:
    data = ready(DigitPair())
    whole = Mnist5k(channels=3, labels=True)
    whole.prepare_data()
    whole.setup()
    a, b = (data.__dict__[side] for side in "ab")
    everything = {image.tobytes(): row for row, image in enumerate(np.array(whole.train_set.pixels))}
    pixels_b = paint(torch.tensor(whole.train_set.pixels)).numpy()
    painted = {image.tobytes(): row for row, image in enumerate(pixels_b)}
    rows_a = [everything[a.train_set.pixels[row].tobytes()] for row in a.train_set.rows]
    rows_b = [painted[b.train_set.pixels[row].tobytes()] for row in b.train_set.rows]
    assert len(rows_a) == len(set(rows_a)) == len(rows_b) == len(set(rows_b)) == 2000
    assert sorted(rows_a + rows_b) == sorted(whole.train_set.rows)
    labels = np.zeros(5000, dtype=int)
    labels[whole.train_set.rows] = whole.train_set.labels
    for rows in (rows_a, rows_b):
        assert np.bincount(labels[rows]).tolist() == [200] * 10
    for split in ("val_set", "test_set"):
        images_a, images_b = getattr(data, split).__getitems__(range(500))
        torch.testing.assert_close(DigitPair.true_b(images_a), images_b, rtol=0, atol=0)
        assert set(getattr(data, split).a.rows) == set(getattr(whole, split).rows)
    few = ready(DigitPair(n_images_b=10, batch_size=8))
    assert (len(few.a.train_set), len(few.b.train_set)) == (2000, 10)
    assert set(few.b.train_set.rows) <= set(b.train_set.rows)
    assert few.hparams["n_images_b"] == 10


def test_the_truth_is_thicker_inverted_and_tinted() -> None:
    pixels = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    pixels[:, :, 2, 2] = 255
    painted = paint(pixels)
    assert painted[0, :, 0, 0].tolist() == list(PAPER)
    assert (painted[0, :, 1:4, 1:4] == torch.tensor(INK)[:, None, None]).all()
    assert (painted[0] == torch.tensor(PAPER)[:, None, None]).all(0).sum() == 25 - 9
    grey = paint(torch.full((1, 3, 4, 4), 51, dtype=torch.uint8))
    assert grey[0, :, 0, 0].tolist() == [round(0.8 * p + 0.2 * i) for p, i in zip(PAPER, INK, strict=True)]


# ---- Folders


def test_batches_keep_the_contract(folders) -> None:
    data = ready(folders(20, 10, batch_size=5))
    assert data.image_shape == (3, 8, 8)
    batches = list(data.train_dataloader())
    assert len(batches) == 3  # 16 images: the last one is dropped
    for batch in batches:
        for images in batch:
            assert images.shape == (5, 3, 8, 8)
            assert images.dtype == torch.float32
            assert images.min() >= -1
            assert images.max() <= 1
    assert [len(images) for batch in data.val_dataloader() for images in batch] == [2, 2]
    again = type(data)(**data.hparams)
    assert (again.root_a, again.batch_size) == (data.root_a, 5)


def test_workers_give_whole_batches(folders) -> None:
    data = ready(folders(20, 10, num_workers=1))
    images_a, images_b = next(iter(data.val_dataloader()))
    expected_a, expected_b = copy.copy(data.val_set).__getitems__(range(len(images_a)))
    assert torch.equal(images_a, expected_a)
    assert torch.equal(images_b, expected_b)


def test_a_domain_smaller_than_a_batch_is_fine_while_the_other_fills_one(folders) -> None:
    data = ready(folders(20, 3, batch_size=8))
    assert next(iter(data.train_dataloader()))[1].shape == (8, 3, 8, 8)
    data = folders(20, 3, batch_size=17)
    data.prepare_data()
    with pytest.raises(UserError, match="batch_size is 17, but there are 16 train .* A and 2 .* B.*batch_size 16 or"):
        data.setup()


@pytest.mark.parametrize(("a", "b"), [(0, 3), (3, 0)])
def test_an_empty_domain_names_both_folders_and_counts(a: int, b: int, folders) -> None:
    data = folders(a, b)
    for root in (data.root_a, data.root_b):
        root.mkdir(exist_ok=True)
    with pytest.raises(UserError) as error:
        data.prepare_data()
    for words in (f"{a} images in {data.root_a}", f"{b} images in {data.root_b}", "--data.root_a", "--data.root_b"):
        assert words in str(error.value)


def test_a_missing_domain_names_both_folders(folders) -> None:
    data = folders(3, 0)
    with pytest.raises(UserError, match="3 images in .*cats .domain A. and no folder .*dogs"):
        data.prepare_data()


def test_one_folder_cannot_be_both_domains(make_folder) -> None:
    root = make_folder(cats=3)
    for a, b in ((root, root), (root, root / "cats"), (root / "cats", root / "cats" / ".." / "cats")):
        with pytest.raises(UserError, match="share images"):
            UnpairedFolders(str(a), str(b)).prepare_data()


def test_a_domains_own_message_names_the_option_of_that_domain(folders) -> None:
    data = folders(10, 10, n_images_b=50)
    data.prepare_data()
    with pytest.raises(UserError, match="UnpairedFolders, domain B: .*n_images is 50.*--data.n_images_b 8"):
        data.setup()
    with pytest.raises(UserError, match="UnpairedFolders, domain A: .*n_images is 0.*--data.n_images_a"):
        folders(3, 3, n_images_a=0)
    with pytest.raises(UserError, match="UnpairedFolders: channels is 2"):
        folders(3, 3, channels=2)


@pytest.mark.parametrize("source", [DigitPair, UnpairedFolders])
def test_every_option_can_be_typed(source: type[UnpairedDataModule]) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(source, "data")
    text = " ".join(parser.format_help().split())
    fixed = {"channels"} if source is DigitPair else set()
    for option in inspect.signature(UnpairedDataModule).parameters.keys() - fixed:
        assert f"--data.{option}" in text
    assert "ANY" not in text
    assert "domain A only (few-shot)" in text


def test_too_early() -> None:
    with pytest.raises(RuntimeError, match="prepare_data"):
        DigitPair().train_dataloader()
    with pytest.raises(RuntimeError, match="prepare_data"):
        DigitPair().val_dataloader()
