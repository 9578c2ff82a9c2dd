"""LeakProbe: a generator that makes augmented images is told from one that makes plain ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled import LabelledNoise, quiet_trainer
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from lit_gen.augmentations.ada import ADA
from lit_gen.augmentations.base import cut_out
from lit_gen.augmentations.diff_augment import DiffAugment
from lit_gen.callbacks.leak_probe import LeakProbe
from lit_gen.callbacks.throughput import Throughput
from lit_gen.errors import UserError
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.leaks import can_be_told, leak
from lit_gen.models.gan import GAN
from lit_gen.networks.mlp import MLPDiscriminator


class Blocks(Extractor):
    """Absolute means of 49 parts of an image: where something is cut out they are small."""

    name = "blocks"
    n_features = 49

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.abs().mean(1, keepdim=True), 4).flatten(1)


class Bank(nn.Module):
    """A generator that shows one of its images for each z."""

    latent_dim = 3

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * self.images[(z.abs().sum(1) * 1000).long() % len(self.images)]


class Notes(Logger):
    """Whatever is logged of leaks, in a list."""

    name = version = "notes"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def log_hyperparams(self, *args: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any("leak" in key for key in metrics):
            self.rows.append(metrics)


class Data(LabelledNoise):
    """Bright images, 64 to train with and half as many held out."""

    def __init__(self) -> None:
        super().__init__(64, labels=False)
        random = torch.Generator().manual_seed(5)
        for rows in (self.train_set, self.val_set):
            rows.images = bright(len(rows.images), random)


def bright(n: int, random: torch.Generator) -> Tensor:
    level = torch.rand(n, 1, 1, 1, generator=random) * 0.1 + 0.5
    return (level + 0.2 * torch.randn(n, 1, 28, 28, generator=random)).clamp(-1, 1)


def fit(
    folder: Path, made: Callable[[Tensor], Tensor], *callbacks: Callback, augment: Any = None, **options: Any
) -> tuple[Trainer, Notes]:
    """Trains a discriminator against a generator that makes `made` of plain images, and hardly learns."""
    notes = Notes()
    torch.manual_seed(2)
    bank = Bank(made(bright(200, torch.Generator().manual_seed(6))))
    optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1e-6)  # noqa: E731
    augment = DiffAugment(["cutout"]) if augment is None else augment
    model = GAN(bank, MLPDiscriminator(image_size=28, hidden=[4]), None, optimizer, optimizer, augment=augment)
    about = {"default_root_dir": folder, "logger": notes, "callbacks": list(callbacks), "max_epochs": 1}
    trainer = quiet_trainer(**{**about, **options})
    trainer.fit(model, datamodule=Data())
    return trainer, notes


def probe(**options: Any) -> LeakProbe:
    return LeakProbe(**{"every": 32, "n": 256, "extractor": Blocks(), **options})


def some(images: Tensor) -> Tensor:
    return cut_out(images, torch.arange(len(images)).view(-1, 1, 1, 1) % 10 < 4)


@pytest.mark.parametrize("made", [cut_out, some])
def test_augmented_looks_in_the_samples_are_warned_of_once(made: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    callback = probe()
    with pytest.warns(UserWarning, match="seem to have been through cutout") as warned:
        _, notes = fit(tmp_path, made, callback)
    assert len([one for one in warned if "LeakProbe" in str(one.message)]) == 1
    assert len(notes.rows) == 2  # at 32 and at 64 images
    assert all(row["val/leak_cutout"] > 0.2 for row in notes.rows)
    assert callback.state_dict() == {"measured": 64, "warned": ["cutout"]}
    again = probe()
    again.load_state_dict(callback.state_dict())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="LeakProbe")
        fit(tmp_path, made, again)  # it has said so


def poor(images: Tensor) -> Tensor:
    """Far from what is real, and not augmented: darker, blurred, with a bright border."""
    small = nn.functional.avg_pool2d(images, 4) * 0.6
    blurred = nn.functional.interpolate(small, scale_factor=4) + 0.05 * torch.randn_like(images)
    blurred[..., :4] = 0.9
    return blurred


@pytest.mark.parametrize("made", [lambda images: images, poor])
def test_plain_samples_and_poor_ones_are_no_leak(made: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="LeakProbe")
        _, notes = fit(tmp_path, made, probe())
    assert len(notes.rows) == 2
    assert all(row["val/leak_cutout"] < 0.1 for row in notes.rows)


def test_what_cannot_be_told_is_not_watched(tmp_path: Path) -> None:
    _, notes = fit(tmp_path, lambda images: images, probe(), augment=ADA())
    assert "val/leak_cutout" in notes.rows[0]
    assert not {"val/leak_flip", "val/leak_saturation"} & notes.rows[0].keys()  # noise has no sides, grey no colour


def test_training_does_not_notice_and_the_time_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_out: list[float] = []
    monkeypatch.setattr(Throughput, "leave_out", lambda self, seconds, _: left_out.append(seconds))
    with_it, _ = fit(tmp_path, lambda images: images, Throughput(), probe(), limit_val_batches=0)
    without, _ = fit(tmp_path, lambda images: images, limit_val_batches=0)
    for name, value in with_it.lightning_module.state_dict().items():
        assert torch.equal(value, without.lightning_module.state_dict()[name]), name
    assert len(left_out) == 2 and min(left_out) > 0


def test_mistakes_are_found_before_training(tmp_path: Path) -> None:
    for options in ({"every": 0}, {"n": 1}, {"limit": 0.0}, {"limit": 1.0}):
        with pytest.raises(UserError, match=f"LeakProbe: {next(iter(options))} is"):
            LeakProbe(**options)
    model = GAN(Bank(torch.zeros(1, 1, 28, 28)), MLPDiscriminator(image_size=28, hidden=[4]))
    with pytest.raises(UserError, match="GAN has no augmentation whose looks could leak"):
        quiet_trainer(callbacks=[probe()], default_root_dir=tmp_path).fit(model, datamodule=Data())
    model.augment, data = ADA(), Data()
    data.val_set = None
    with pytest.raises(UserError, match="found no val images in Data"):
        quiet_trainer(callbacks=[probe()], default_root_dir=tmp_path, limit_val_batches=0).fit(model, datamodule=data)


def test_shares_of_known_mixtures() -> None:
    """In one dimension: a change moves by 6 deviations, so that a leaked sample is one beyond 3."""
    plain = lambda n: torch.randn(n, 1)  # noqa: E731
    train, held_out = plain(200), plain(200)
    assert can_be_told(train, train + 6, held_out, held_out + 6)
    assert not can_be_told(train, plain(200), held_out, plain(200))
    samples = plain(200)
    share, error = leak(train, train + 6, samples, samples + 6, held_out)
    assert abs(share) < 0.03 and error < 0.02
    samples = samples + 6.0 * (torch.arange(200) % 4 < 1)[torch.randperm(200)].view(-1, 1)
    share, error = leak(train, train + 6, samples, samples + 6, held_out)
    assert share == pytest.approx(0.25, abs=0.06)
    assert error == pytest.approx((0.25 * 0.75 / 200) ** 0.5, abs=0.01)
