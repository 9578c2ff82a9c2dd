"""Tiny data in the real formats, made where a test would otherwise download them."""

import gzip
import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from datamodules import animal_silhouettes


def make_photos(root: Path, count: int = 40) -> Path:
    """A folder with `count` noisy photographs of different sizes, without classes."""
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (70 + index % 3, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index:04}.jpg")
    return root


def make_wheel(folder: Path, pixels: object = None, labels: object = None) -> Path:
    """A wheel like animal-mnist's, with 20 silhouettes a class unless something else is given."""
    if pixels is None:
        labels = np.repeat(np.arange(10), 20)
        pixels = np.zeros((200, 28, 28), dtype=np.uint8)
        pixels[np.arange(200), 5:10, 5:10] = np.arange(200, dtype=np.uint8)[:, None, None] + 1
    wheel = folder / animal_silhouettes.WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in ((animal_silhouettes.PIXELS, pixels), (animal_silhouettes.LABELS, labels)):
            archive.writestr(name, gzip.compress(pickle.dumps(content)))
    return wheel


def trust(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animal_silhouettes, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())


def make_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR10 in torchvision's own layout: 5 train batches of 20 images and a test batch of 20."""
    folder, lists = root / "cifar-10-batches-py", {"train_list": [], "test_list": []}
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        entry = {"data": random.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [k % 10 for k in range(20)]}
        (folder / name).write_bytes(pickle.dumps(entry))
        checksum = hashlib.md5((folder / name).read_bytes()).hexdigest()
        lists["test_list" if name == "test_batch" else "train_list"].append([name, checksum])
    names = {"label_names": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    meta = {"filename": "batches.meta", "key": "label_names"}
    meta["md5"] = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    for attribute, value in {**lists, "meta": meta}.items():
        monkeypatch.setattr(torchvision.datasets.CIFAR10, attribute, value)


def make_pets(root: Path) -> Path:
    """OxfordIIITPet in torchvision's own layout: 6 cats and 6 dogs of two breeds each, in trainval and in test."""
    folder = root / "oxford-iiit-pet"
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    breeds = [("Abyssinian", 1, 1), ("beagle", 2, 2), ("Bengal", 3, 1), ("boxer", 4, 2)]  # number, 1 cat or 2 dog
    for split, first in (("trainval", 1), ("test", 4)):
        lines = []
        for breed, number, kind in breeds:
            for index in range(first, first + 3):
                pixels = random.integers(0, 100, (70, 80, 3), dtype=np.uint8) + (150 if kind == 2 else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{breed}_{index}.jpg")
                lines.append(f"{breed}_{index} {number} {kind} 1\n")
        (folder / "annotations" / f"{split}.txt").write_text("".join(lines))
    return root
