"""A cache of its own for every test, and makers of tiny images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules import paths


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing that a test decodes or downloads leaves its own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LIT_GEN_CACHE", str(folder))
    monkeypatch.setattr(paths, "search_folders", [])
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder(cat=10, dog=5) -> a folder with that many noisy PNGs in each class; "train/cat" works as well."""

    def make(name: str = "photos", **classes: int) -> Path:
        random = np.random.default_rng(list("".join(classes).encode()))  # no two folders share an image
        for class_name, count in classes.items():
            (tmp_path / name / class_name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / class_name / f"{index:04}.png")
        return tmp_path / name

    return make
