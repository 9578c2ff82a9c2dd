"""When `last.ckpt` is written: by images, minutes and epochs, and between two batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from families import make, train
from lightning.pytorch import Callback, Trainer

from lit_gen.callbacks import last_checkpoint
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.stop_signals import StopSignals
from lit_gen.errors import UserError


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """written(every=8) trains 3 epochs of 4 batches of 4 images; what was seen at each checkpoint."""

    def run(*callbacks: Callback, **options: float | None) -> list[int]:
        found = []
        save = last_checkpoint.save_whole

        def saving(trainer: Trainer, path: Path) -> None:
            save(trainer, path)
            found.append(torch.load(path, weights_only=True)["images_seen"])

        monkeypatch.setattr(last_checkpoint, "save_whole", saving)
        chosen = [*callbacks, LastCheckpoint(**options)]
        train(
            make("vae"),
            "vae",
            *chosen,
            batches=4,
            max_epochs=3,
            enable_checkpointing=True,
            default_root_dir=str(tmp_path),
        )
        return found

    return run


def test_by_images(written) -> None:
    assert written(every=12) == [12, 24, 36, 48]
    assert written(every=10) == [12, 20, 32, 40, 48]


def test_by_epochs(written) -> None:
    assert written(every=None, every_epochs=1) == [16, 32, 48]
    assert written(every=None, every_epochs=2) == [32, 48]


def test_by_minutes(written, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by 20 seconds with every batch."""

    class Clock(Callback):
        now = 0.0

        def on_train_batch_end(self, *given) -> None:
            self.now += 20

    clock = Clock()
    monkeypatch.setattr(last_checkpoint.time, "monotonic", lambda: clock.now)
    assert written(clock, every=None, every_minutes=1) == [12, 24, 36, 48]
    assert written(clock, every=20, every_minutes=1) == [12, 20, 32, 40, 48]


def test_at_the_end_alone(written) -> None:
    assert written(every=None) == [48]


@pytest.mark.parametrize("options", [{"every": 0}, {"every_minutes": 0.0}, {"every_epochs": -1}])
def test_refuses_what_would_never_end(options: dict) -> None:
    (name,) = options
    with pytest.raises(UserError, match=f"LastCheckpoint: {name} is .*Type {name}: "):
        LastCheckpoint(**options)


def test_without_a_signal_nothing_stops(written) -> None:
    assert written(StopSignals(), every=None) == [48]
