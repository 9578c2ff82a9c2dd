"""A folder of images from the first decoding to batches, and everything that may be wrong with it."""

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from PIL import Image

from datamodules import decoding, parallel, paths
from datamodules.base import PixelDataset
from datamodules.errors import UserError
from datamodules.image_folder import ImageFolder


def ready(root: Path, **options) -> ImageFolder:
    data = ImageFolder(str(root), **{"image_size": 8, "batch_size": 2, **options})
    data.prepare_data()
    data.setup()
    return data


def shown(part: PixelDataset) -> set[bytes]:
    """Identities of a split's images, as their pixels are noise."""
    return {part.pixels[row].tobytes() for row in part.rows}


def test_batches_keep_the_contract(make_folder) -> None:
    data = ready(make_folder(cat=20, dog=10), batch_size=5, labels=True)
    assert data.summary() == "ImageFolder: 24 train, 3 val, 3 test images, 3x8x8, 2 classes"
    assert data.class_names == ["cat", "dog"]
    assert data.n_classes == 2
    assert data.image_shape == (3, 8, 8)
    batches = list(data.train_dataloader())
    assert len(batches) == 4  # 24 images: the last 4 are dropped
    for images, labels in batches:
        assert images.shape == (5, 3, 8, 8)
        assert images.dtype == torch.float32
        assert labels.shape == (5,)
        assert labels.dtype == torch.int64
        assert images.min() >= -1
        assert images.max() <= 1
        assert images.min() < -0.5
        assert images.max() > 0.5
    assert sum(len(images) for images, _ in data.val_dataloader()) == 3
    assert [len(batch) for batch in data.test_dataloader()] == [2]


def test_without_labels_a_batch_is_a_tuple_of_one(make_folder) -> None:
    data = ready(make_folder(cat=10))
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, tuple)
    assert len(batch) == 1
    assert batch[0].shape == (2, 3, 8, 8)
    assert data.train_set[0][0].shape == (3, 8, 8)
    assert len(list(data.train_set)) == len(data.train_set) == 8


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    for level, name in ((0, "black"), (255, "white")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(20):
            Image.new("RGB", (9, 9), (level,) * 3).save(tmp_path / "set" / name / f"{index}.png")
    for classes in (["black", "white"], ["white", "black"], ["white"]):
        data = ready(tmp_path / "set", classes=classes, labels=True)
        assert data.class_names == classes
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            for images, labels in loader:
                white = images.mean(dim=(1, 2, 3)) > 0
                assert [classes[label] for label in labels] == ["white" if w else "black" for w in white]


def test_train_order_is_shuffled_by_torch_and_val_order_is_fixed(make_folder) -> None:
    data = ready(make_folder(cat=60), horizontal_flip=False)

    def order(loader, seed: int) -> bytes:
        torch.manual_seed(seed)
        return b"".join(batch[0].numpy().tobytes() for batch in loader)

    assert order(data.train_dataloader(), 0) == order(data.train_dataloader(), 0)
    assert order(data.train_dataloader(), 0) != order(data.train_dataloader(), 1)
    assert order(data.val_dataloader(), 0) == order(data.val_dataloader(), 1)


def test_flip_mirrors_about_half_of_the_train_images_only(make_folder) -> None:
    data = ready(make_folder(cat=100), horizontal_flip=True)
    plain = ready(make_folder(cat=100), horizontal_flip=False)
    torch.manual_seed(0)
    everything = range(len(data.train_set))
    images, originals = data.train_set.__getitems__(everything)[0], plain.train_set.__getitems__(everything)[0]
    same = (images == originals).flatten(1).all(1)
    mirrored = (images.flip(-1) == originals).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 25 <= mirrored.sum() <= 55
    assert not data.val_set.flip
    assert not data.test_set.flip


def test_splits_are_disjoint_and_independent_of_seed_and_n_images(make_folder) -> None:
    root = make_folder(cat=40, dog=20)
    data = ready(root)
    parts = [shown(part) for part in (data.train_set, data.val_set, data.test_set)]
    assert [len(part) for part in parts] == [48, 6, 6]
    assert len(set.union(*parts)) == 60
    other = ready(root, seed=7, n_images=10)
    assert shown(other.val_set) == parts[1]
    assert shown(other.test_set) == parts[2]
    assert len(other.train_set) == 10
    assert shown(other.train_set) < parts[0]
    assert shown(ready(root, classes=["dog"]).test_set) < parts[2]


def test_few_shot_subsets_are_nested(make_folder) -> None:
    root = make_folder(cat=40, dog=20)
    few, more = (shown(ready(root, n_images=n).train_set) for n in (6, 24))
    assert few < more
    assert few != shown(ready(root, n_images=6, seed=1).train_set)
    labels = ready(root, n_images=24, labels=True).train_set.labels
    assert torch.bincount(labels).tolist() == [16, 8]


def test_split_folders_are_taken_and_missing_ones_carved(make_folder) -> None:
    root = make_folder(**{"train/cat": 20, "train/dog": 20, "valid/cat": 3, "valid/dog": 4})
    data = ready(root, test_fraction=0.2)
    assert data.summary() == "ImageFolder: 32 train, 7 val, 8 test images, 3x8x8, 2 classes"
    make_folder(**{"test/dog": 5})
    assert len(ready(root).test_set) == 5


def test_a_flat_train_folder_is_one_class_named_after_the_root(make_folder) -> None:
    root = make_folder(train=10, test=2)
    data = ready(root)
    assert data.class_names == ["photos"]
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (9, 1, 2)


def test_deeper_folders_belong_to_the_first_level(make_folder) -> None:
    data = ready(make_folder(**{"cat/indoor/old": 5, "cat/outdoor": 5, "dog": 10}))
    assert data.class_names == ["cat", "dog"]
    assert len(data.train_set) == 16


def test_a_link_to_its_own_parent_ends(make_folder) -> None:
    root = make_folder(cat=10)
    (root / "cat" / "again").symlink_to(root / "cat", target_is_directory=True)
    assert len(ready(root).train_set) == 8


def test_a_link_that_leads_nowhere_is_refused_until_it_leads_somewhere(make_folder) -> None:
    root = make_folder(cat=10)
    (root / "cat" / "dangling.png").symlink_to(root / "nope")
    with pytest.warns(UserWarning, match=r"refused 1 broken image.*cat/dangling.png \(unreadable: No such file"):
        data = ready(root, val_fraction=0, test_fraction=0)
    assert len(data.train_set) == 10
    Image.new("RGB", (9, 9)).save(root / "nope", "PNG")
    assert len(ready(root, val_fraction=0, test_fraction=0).train_set) == 11


def test_other_files_and_hidden_folders_are_ignored(make_folder) -> None:
    root = make_folder(**{"cat": 10, ".thumbnails": 3, "__MACOSX": 3})
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "README.md").write_text("no image")
    assert ready(root).class_names == ["cat"]


def test_images_outside_class_folders_form_a_class_with_a_warning(make_folder) -> None:
    root = make_folder(cat=10)
    for index in range(10):
        Image.new("L", (5, 5)).save(root / f"{index}.png")
    with pytest.warns(UserWarning, match="10 images outside"):
        assert ready(root).class_names == ["cat", "photos"]


def test_odd_files_are_decoded(tmp_path: Path) -> None:
    root = tmp_path / "odd"
    root.mkdir()
    grey = Image.new("L", (30, 20), 128)
    Image.fromarray(np.full((20, 30), 128 * 257, dtype=np.uint16)).save(root / "sixteen_bits.png")
    Image.fromarray(np.full((20, 30), 0.5, dtype=np.float32)).save(root / "floats.tiff")
    for name, mode in [
        ("a.jpg", "CMYK"),
        ("b.JPEG", "L"),
        ("c.png", "P"),
        ("d.png", "LA"),
        ("e.gif", "L"),
        ("f.webp", "RGB"),
    ]:
        grey.convert("RGB").convert(mode).save(root / name)
    data = ready(root, val_fraction=0, test_fraction=0, horizontal_flip=False)
    assert len(data.train_set) == 8
    assert np.abs(data.train_set.pixels.astype(int) - 128).max() <= 3
    assert ready(root, channels=1, val_fraction=0, test_fraction=0).image_shape == (1, 8, 8)


# ---- the cache


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every image that is decoded."""
    seen: list[int] = []
    original = decoding.fit_image

    def count(*arguments):
        seen.append(1)
        return original(*arguments)

    monkeypatch.setattr(decoding, "fit_image", count)
    return seen


def test_decoded_once_for_all_epochs_and_runs(make_folder, decoded: list[int], cache: Path) -> None:
    root = make_folder(cat=10)
    data = ready(root)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    for _ in range(2):
        list(data.train_dataloader())
    ready(root, batch_size=1, seed=3, n_images=4, val_fraction=0.3)
    assert len(decoded) == 10
    assert isinstance(data.train_set.pixels, np.memmap)
    assert [path.name for path in (cache / "images").iterdir() if path.name.startswith(".")] == []


def test_a_change_decodes_anew(make_folder, decoded: list[int]) -> None:
    root = make_folder(cat=10)
    before = shown(ready(root, val_fraction=0, test_fraction=0).train_set)
    Image.new("RGB", (10, 10), (9, 9, 9)).save(root / "cat" / "0003.png")
    after = shown(ready(root, val_fraction=0, test_fraction=0).train_set)
    assert len(before & after) == 9
    os.utime(root / "cat" / "0003.png", (1, 1))
    ready(root)
    ready(root, image_size=9)
    ready(root, channels=1)
    (root / "cat" / "0000.png").unlink()
    ready(root)
    assert len(decoded) == 59


def test_an_interrupted_decoding_leaves_nothing(make_folder, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    root = make_folder(cat=10)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "fit_image", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ready(root)
    assert list((cache / "images").iterdir()) == []
    ready(root)


def test_two_processes_may_decode_at_once(make_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(cat=10)
    original, inside = ImageFolder.decode, []

    def decode_while_another_does(self: ImageFolder, folder: Path) -> None:
        original(self, folder)
        if not inside:
            inside.append(True)
            ready(root)  # "the other process", which publishes the same entry first

    monkeypatch.setattr(ImageFolder, "decode", decode_while_another_does)
    assert len(ready(root).train_set) == 8


def test_several_processes_decode_alike(make_folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = make_folder(cat=20, dog=20)
    (root / "cat" / "0007.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="refused 1 broken"):
        alone = ready(root, val_fraction=0, test_fraction=0)
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(parallel, "FEW", 0)
    monkeypatch.setattr(parallel, "CHUNK", 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    with pytest.warns(UserWarning, match="refused 1 broken"):
        together = ready(root, val_fraction=0, test_fraction=0)
    assert np.array_equal(alone.train_set.pixels, together.train_set.pixels)
    assert len(together.train_set) == 39


def test_setup_without_prepare_data_says_so(make_folder) -> None:
    with pytest.raises(UserError, match=r"prepare_data\(\) before setup\(\)"):
        ImageFolder(str(make_folder(cat=10))).setup()


def test_a_full_disk_is_a_message(make_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.memory_map.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match="LIT_GEN_CACHE"):
        ready(make_folder(cat=10))


def test_a_cache_that_cannot_be_written_is_a_message(make_folder, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="LIT_GEN_CACHE"):
        ready(make_folder(cat=10))


def test_a_pickled_data_set_opens_the_file_again(make_folder) -> None:
    data = ready(make_folder(cat=200), image_size=32, horizontal_flip=False)
    pickled = pickle.dumps(data.train_set)
    assert len(pickled) < 10_000 < data.train_set.pixels.nbytes
    copy = pickle.loads(pickled)
    assert isinstance(copy.pixels, np.memmap)
    assert torch.equal(copy[5][0], data.train_set[5][0])
    assert len(pickle.dumps(data)) < 50_000


def test_worker_processes_give_the_same_images(make_folder) -> None:
    data = ready(make_folder(cat=10), num_workers=1, horizontal_flip=False)
    assert torch.equal(next(iter(data.val_dataloader()))[0][0], data.val_set[0][0])


def test_a_trainer_takes_it(make_folder, tmp_path: Path) -> None:
    class Model(BoringModel):
        seen: tuple = ()

        def training_step(self, batch, batch_index):
            self.seen = (*self.seen, *(part.shape for part in batch))
            return self.layer(torch.ones(1, 32)).sum()

        def validation_step(self, batch, batch_index):
            return {"x": batch[0].mean()}

    model, data = Model(), ImageFolder(str(make_folder(cat=10)), image_size=8, batch_size=4, labels=True)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **options)
    trainer.fit(model, datamodule=data)
    assert model.seen == ((4, 3, 8, 8), (4,), (4, 3, 8, 8), (4,))


def test_hyperparameters_hold_every_option(make_folder) -> None:
    data = ImageFolder("photos", image_size=16, n_images=3, classes=["cat"])
    assert data.hparams["root"] == "photos"
    assert data.hparams["n_images"] == 3
    assert data.hparams["val_fraction"] == 0.1
    assert data.hparams["horizontal_flip"] is True


# ---- identical images


def test_identical_images_are_carved_to_one_side_and_all_others_stay(make_folder) -> None:
    root = make_folder(cat=40, dog=40)
    before = ready(root, val_fraction=0.3, test_fraction=0.3, horizontal_flip=False)
    held_out = {before.test_set.pixels[row].tobytes() for row in before.test_set.rows}
    for index in range(4):  # copies within a class, and in the other one
        copy = (root / "cat" / f"{index:04}.png").read_bytes()
        (root / "cat" / f"copy{index}.png").write_bytes(copy)
        (root / "dog" / f"copy{index}.png").write_bytes(copy)
    after = ready(root, val_fraction=0.3, test_fraction=0.3, horizontal_flip=False)
    parts = [shown(part) for part in (after.train_set, after.val_set, after.test_set)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 80
    assert sum(len(part) for part in (after.train_set, after.val_set, after.test_set)) == 88
    assert len(parts[2] & held_out) >= len(held_out) - 8


def test_train_images_that_are_held_out_are_refused_by_content(make_folder) -> None:
    root = make_folder(**{"train/cat": 20, "train/dog": 20, "test/cat": 3, "test/dog": 3})
    for name in ("0003", "0004", "0005", "0006"):
        with Image.open(root / "train" / "cat" / f"{name}.png") as image:
            image.save(root / "test" / "cat" / f"other{name}.bmp")
    assert len(ready(root, classes=["dog"]).train_set) == 18
    with pytest.raises(UserError) as error:
        ready(root, classes=["cat"])
    for words in ("4 train image(s)", "train/cat/0003.png = test/cat/other0003.bmp", "and 1 more", "lit_gen prepare"):
        assert words in str(error.value)


# ---- bad input


def test_a_broken_image_is_skipped_counted_and_named_once(make_folder, recwarn: pytest.WarningsRecorder) -> None:
    root = make_folder(cat=20)
    whole = (root / "cat" / "0001.png").read_bytes()
    (root / "cat" / "0001.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "0002.png").write_bytes(b"")
    (root / "cat" / "0003.png").write_text("<html>404</html>")
    for _ in range(2):  # with and without the cache
        warnings.simplefilter("always")
        recwarn.clear()
        data = ready(root, val_fraction=0, test_fraction=0)
        data.setup("test")
        assert len(data.train_set) == 17
        messages = [str(warning.message) for warning in recwarn if "broken" in str(warning.message)]
        assert len(messages) == 1
        assert "refused 3 broken" in messages[0]
        assert all(f"cat/000{index}.png" in messages[0] for index in (1, 2, 3))


def test_missing_folder_names_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.search_folders.append(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        ready(Path("nowhere"))
    for part in (str(tmp_path / "nowhere"), str(tmp_path / "project" / "nowhere"), "does not exist", "--data.root"):
        assert part in str(error.value)


def test_relative_root_is_found_beside_the_config(make_folder, tmp_path: Path, monkeypatch) -> None:
    root = make_folder(cat=10)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    paths.search_folders.append(root.parent)
    assert len(ready(Path(root.name)).train_set) == 8


def test_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cats.zip").write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        ready(tmp_path / "cats.zip")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="there are no images in"):
        ready(tmp_path / "empty")


def test_empty_train_folder(make_folder) -> None:
    with pytest.raises(UserError, match="train"):
        ready(make_folder(train=0, test=5))


def test_no_readable_image(make_folder, cache: Path) -> None:
    root = make_folder(cat=3)
    for path in (root / "cat").iterdir():
        path.write_text("not an image")
    with pytest.raises(UserError, match="none of the 3 images"):
        ready(root)
    assert list((cache / "images").iterdir()) == []


@pytest.mark.parametrize("classes", [None, ["cat", "dog"]])
def test_a_class_without_images(make_folder, classes: list[str] | None) -> None:
    with pytest.raises(UserError, match=r"'dog' has no images that can be read.*--data.classes '\[cat\]'"):
        ready(make_folder(cat=10, dog=0), classes=classes)


def test_an_empty_class_that_is_not_asked_for_does_no_harm(make_folder) -> None:
    assert ready(make_folder(cat=10, dog=0), classes=["cat"]).class_names == ["cat"]


def test_a_class_that_is_held_out_whole(make_folder) -> None:
    with pytest.raises(UserError, match="'dog' has no train images"):
        ready(make_folder(**{"train/cat": 10, "test/dog": 5}))


def test_unknown_class_gets_the_nearest_name(make_folder) -> None:
    with pytest.raises(UserError, match=r"no class 'Cats'.*Did you mean .cat..*cat, dog"):
        ready(make_folder(cat=10, dog=10), classes=["Cats"])


def test_more_images_than_there_are(make_folder) -> None:
    with pytest.raises(UserError, match="n_images is 9, but the train split has 8 images.*--data.n_images 8"):
        ready(make_folder(cat=10), n_images=9)
    assert len(ready(make_folder(cat=10), n_images=8).train_set) == 8


@pytest.mark.parametrize(("n_images", "left"), [(None, 8), (4, 4)])
def test_batch_larger_than_the_train_set(make_folder, n_images: int | None, left: int) -> None:
    with pytest.raises(UserError, match=f"batch_size is 9, but there are {left} .*--data.batch_size {left}"):
        ready(make_folder(cat=10), batch_size=9, n_images=n_images)


@pytest.mark.parametrize(
    "option",
    [
        {"image_size": 0},
        {"channels": 2},
        {"channels": 4},
        {"batch_size": 0},
        {"batch_size": -5},
        {"n_images": 0},
        {"n_images": -1},
        {"val_fraction": 1.0},
        {"val_fraction": -0.1},
        {"test_fraction": 1.5},
        {"test_fraction": float("nan")},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"classes": []},
        {"classes": ["cat", "cat"]},
        {"num_workers": -1},
    ],
)
def test_nonsense_is_refused_before_anything_is_read(option: dict) -> None:
    with pytest.raises(UserError, match="Expected .*type .*--data."):
        ImageFolder("does/not/exist", **option)


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="imagesize"):
        ImageFolder("photos", imagesize=3)
