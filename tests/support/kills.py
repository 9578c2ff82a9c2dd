"""Kills a training again and again at seeded random moments, and looks at what is left each time."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from common import GAN_MNIST
from interruptions import differences, rows
from warm import Warm

from lit_gen.checkpoint_file import damage_of
from lit_gen.run_folder import Record

# A GAN with all that has a memory: 10 batches an epoch, 40 in the run, a checkpoint after every third.
OPTIONS = [
    *("--model.generator.width=2", "--model.discriminator.width=2", "--model.max_images=640", "--model.loss=LeCamLoss"),
    *("--model.augment=ADA", "--model.augment.every=2", "--model.augment.speed=200", "--data.n_images=160"),
    *("--data.batch_size=16", "--data.horizontal_flip=true", "--trainer.check_val_every_n_epoch=1"),
    *("--trainer.limit_val_batches=2", "--trainer.log_every_n_steps=2"),
    *("--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every=48"),
]
FIT = ["fit", f"--config={GAN_MNIST}", *OPTIONS, "--ckpt_path=last"]
BATCHES, CHECKPOINTS = 40, 14
MOMENTS = ("checkpoint", "batch", "start")


@dataclass
class Tally:
    """What has been tried and what came of it.

    Attributes:
        kills: How many at each of MOMENTS.
        cut_short: Kills that left a new checkpoint which was not written to its end, beside the old one.
        not_in_place: Kills that left a new checkpoint, whole but not yet in the place of the old one.
        afresh: Trainings that were killed before their first checkpoint, and began again.
        ends: Trainings that reached their end.
        faults: Whatever should not have been.
    """

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MOMENTS, 0))
    cut_short: int = 0
    not_in_place: int = 0
    afresh: int = 0
    ends: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())


class Rehearsal:
    """One training, and the same one killed on its way.

    Args:
        folder: Where everything is written.
        warm: Starts the commands.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, warm: Warm, seed: int) -> None:
        self.folder, self.warm = folder, warm
        self.random = random.Random(seed)
        self.tally = Tally()
        (folder / "whole").mkdir()
        warm(folder / "whole", "--help").status()  # the first command waits for the imports
        began = time.monotonic()
        assert warm(folder / "whole", *FIT).status() == 0
        self.seconds = time.monotonic() - began
        (self.whole,) = (folder / "whole").glob("checkpoints/*/*")

    def killed_on_its_way(self, kills: int) -> None:
        """A training that is killed up to so many times, gone on with by the same command each time, up to its end."""
        place = self.folder / f"killed{self.tally.ends}"
        place.mkdir()
        for _ in range(kills):
            self._kill(place)
            if finished_in(place):  # the end was faster
                break
        else:
            command = self.warm(place, *FIT)
            if (status := command.status()) != 0:
                self.tally.faults.append(f"ended with {status}: {command.said[-500:]}")
        self.tally.ends += 1
        self._compare(place)

    def _kill(self, place: Path) -> None:
        """One run of the command that is killed, unless it reaches its end before; whether it was."""
        moment = MOMENTS[self.tally.total % len(MOMENTS)]
        before = images_of(place)
        left = 1 - max(before.values(), default=0) / 640  # of the training
        number = 1 + self.random.randrange(1 + int(left * (BATCHES if moment == "batch" else CHECKPOINTS) / 2))
        seconds = self.random.random() * {"start": self.seconds, "batch": 0.02, "checkpoint": 0.01}[moment]
        older = unfinished_in(place)
        command = self.warm(place, *FIT, before=("rehearsals:kill", moment, number, seconds))
        status = command.status()
        if status == 0:  # it was at its end before
            return
        if status != -signal.SIGKILL:
            self.tally.faults.append(f"{moment} {number}: ended with {status}: {command.said[-500:]}")
        self.tally.kills[moment] += 1
        for path, _ in unfinished_in(place) - older:
            self.tally.cut_short += damage_of(path) is not None
            self.tally.not_in_place += damage_of(path) is None
        self._look(place, before)

    def _look(self, place: Path, before: dict[Path, int]) -> None:
        """No checkpoint was lost, and each that is there can be read."""
        for path in place.glob("checkpoints/*/*/*.ckpt"):
            if damage := damage_of(path):
                self.tally.faults.append(f"{path.name} is not readable: {damage}")
        now = images_of(place)
        for path, images in before.items():
            if now.get(path, -1) < images:
                self.tally.faults.append(f"{path} had {images} images, and now {now.get(path)}")

    def _compare(self, place: Path) -> None:
        """The end is that of the training that was never killed, bit for bit."""
        finished = finished_in(place)
        if len(finished) != 1:
            self.tally.faults.append(f"{len(finished)} runs have finished, expected 1")
            return
        self.tally.afresh += len(list(place.glob("checkpoints/*/*"))) - 1
        one, other = (torch.load(run / "last.ckpt", weights_only=True) for run in (self.whole, finished[0]))
        one["run"]["id"] = other["run"]["id"]
        self.tally.faults += [f"the end differs in {name}" for name in differences(one, other)]
        if rows(self.whole) != rows(finished[0]):
            self.tally.faults.append("metrics.csv differs")
        if list(finished[0].glob(".*.writing")):
            self.tally.faults.append("an unfinished checkpoint is left")


def images_of(place: Path) -> dict[Path, int]:
    """The images that each last.ckpt below a folder has."""
    found = place.glob("checkpoints/*/*/last.ckpt")
    return {path: torch.load(path, weights_only=True)["images_seen"] for path in found}


def finished_in(place: Path) -> list[Path]:
    """The runs below a folder that have finished."""
    return [path.parent for path in images_of(place) if Record.read(path.parent).status == "finished"]


def unfinished_in(place: Path) -> set[tuple[Path, int]]:
    """The checkpoints below a folder that were being written, and when: an older kill may have left one."""
    return {(path, path.stat().st_mtime_ns) for path in place.glob("checkpoints/*/*/.*.ckpt.writing")}
