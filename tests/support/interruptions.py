"""Runs that are interrupted: what a kill would leave behind, and what two checkpoints differ in."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

TIMED = ("train/images_per_second", "train/data_wait", "train/minutes")  # columns that a clock fills


class Snapshots(Callback):
    """Copies the folder of all runs as a kill would leave it: after so many images, before the batch is logged.

    Args:
        root: The folder of all runs.
        at: Images seen at each copy, `<root>_<images>`.
    """

    def __init__(self, root: str, at: list[int]) -> None:
        self.root, self.at = root, at

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.images_seen in self.at and trainer.is_global_zero:
            shutil.copytree(self.root, f"{self.root}_{pl_module.images_seen}")


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two checkpoints are not bit for bit the same."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield place
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() ^ other.keys():
            yield f"{place}.{key} (in one alone)"
        for key in one.keys() & other.keys():
            yield from differences(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif one != other:
        yield f"{place}: {one} and {other}"


def rows(folder: Path) -> list[dict[str, str]]:
    """A run's metrics.csv, without the columns that a clock fills."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: row[name] for name in row if name not in TIMED} for row in csv.DictReader(file)]
