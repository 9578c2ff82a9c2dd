"""EMA, sample grid, throughput, progress bar and last checkpoint, each against what its docstring says."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.profilers import SimpleProfiler
from PIL import Image
from torch import nn

import lit_gen
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.sample_grid import SampleGrid
from lit_gen.callbacks.throughput import Throughput
from lit_gen.errors import UserError
from lit_gen.pictures import Made, image_grid


class Model(nn.Module):
    """A generator whose weight the test moves by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
        self.images_seen = 0


def test_ema_halves_in_its_half_life() -> None:
    model, ema = Model(), EMA(half_life=100, ramp_up=None)
    ema.setup(None, model, "fit")
    nn.init.ones_(model.generator[0].weight)
    model.generator[1].running_mean.fill_(8.0)
    ema.on_train_start(None, model)  # starts as a copy of the weights as they are now
    assert model.generator_ema[0].weight.item() == 1
    nn.init.zeros_(model.generator[0].weight)
    model.generator[1].running_mean.zero_()
    model.generator[1].num_batches_tracked.fill_(7)
    for _ in range(4):
        model.images_seen += 25
        ema.on_train_batch_end(None, model, None, None, 0)
    assert model.generator_ema[0].weight.item() == pytest.approx(0.5)
    assert model.generator_ema[1].running_mean.item() == pytest.approx(4.0)
    assert model.generator_ema[1].num_batches_tracked.item() == 7
    assert not any(parameter.requires_grad for parameter in model.generator_ema.parameters())


def test_ema_waits_for_a_fiftieth_of_its_half_life_and_remembers_since_when() -> None:
    model, ema = Model(), EMA(half_life=100, ramp_up=None)
    ema.setup(None, model, "fit")
    nn.init.ones_(model.generator[0].weight)
    ema.on_train_start(None, model)
    nn.init.zeros_(model.generator[0].weight)
    model.images_seen = 1
    ema.on_train_batch_end(None, model, None, None, 0)
    assert model.generator_ema[0].weight.item() == 1  # 1 image is less than 2 % of 100
    resumed = EMA(half_life=100, ramp_up=None)
    resumed.setup(None, model, "fit")
    resumed.load_state_dict({"images_seen": 40})
    model.images_seen = 90
    resumed.on_train_start(None, model)
    model.images_seen = 140
    resumed.on_train_batch_end(None, model, None, None, 0)
    assert model.generator_ema[0].weight.item() == pytest.approx(0.5)


def test_ema_ramps_up() -> None:
    ema = EMA(half_life=1_000, ramp_up=0.05)
    assert ema.decay(images_seen=2_000, new_images=100) == pytest.approx(0.5)  # half-life is 5 % of 2,000
    assert ema.decay(images_seen=10**6, new_images=1_000) == pytest.approx(0.5)


def test_ema_leaves_resumed_averages_alone() -> None:
    model, ema = Model(), EMA()
    ema.setup(None, model, "fit")
    nn.init.constant_(model.generator_ema[0].weight, 5.0)  # as restored from a checkpoint
    model.images_seen = 640
    ema.on_train_start(None, model)
    assert model.generator_ema[0].weight.item() == 5.0


def test_ema_of_what_is_not_there() -> None:
    with pytest.raises(UserError, match='no sub-module "genrator", it has generator. Did you mean "generator"'):
        EMA(modules=["genrator"]).setup(None, Model(), "fit")


@pytest.mark.parametrize(
    "make",
    [
        lambda: EMA(half_life=0),
        lambda: EMA(half_life=float("nan")),
        lambda: EMA(ramp_up=-1.0),
        lambda: SampleGrid(every=0),
        lambda: LastCheckpoint(every=0),
    ],
)
def test_nonsense_intervals_are_refused(make) -> None:
    with pytest.raises(UserError):
        make()


def test_a_grid_is_drawn_when_the_images_pass_its_interval(fit) -> None:
    folder = fit("--trainer.callbacks+=SampleGrid", "--trainer.callbacks.every=32", "--trainer.callbacks.n=6")
    names = sorted(path.name for path in (folder / "samples").iterdir())
    assert names == ["images_000000032.png", "images_000000064.png"]


def test_the_grid_shows_the_samples_of_its_seed(trained: Path) -> None:
    model = lit_gen.load(trained / "last.ckpt")
    expected = image_grid([Made(model.sample(64, seed=0))]).mul(255).add(0.5).clamp(0, 255).to(torch.uint8)
    with Image.open(trained / "samples" / "images_000000064.png") as image:
        assert image.size == (8 * 30 + 2, 8 * 30 + 2)
        found = torch.tensor(list(image.convert("L").tobytes())).reshape(image.size[::-1])
    assert (found - expected[0].int()).abs().max() <= 1


def test_throughput_is_logged_and_data_wait_is_a_share(trained: Path) -> None:
    with (trained / "metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    assert all(float(row["train/images_per_second"]) > 0 for row in found)
    assert all(0 <= float(row["train/data_wait"]) < 1 for row in found)


def test_throughput_leaves_a_chosen_profiler_in_place() -> None:
    profiler = SimpleProfiler()
    trainer = SimpleNamespace(profiler=profiler)
    Throughput().setup(trainer, None, "fit")
    assert trainer.profiler is profiler


def test_progress_bar_knows_the_end_of_the_run() -> None:
    trainer = SimpleNamespace(datamodule=None, max_epochs=2, num_training_batches=3, world_size=2)
    total = ImageProgressBar.total
    assert total(trainer, SimpleNamespace(max_images=500)) == 500
    assert total(trainer, SimpleNamespace(max_images=None)) is None
    trainer.datamodule = SimpleNamespace(batch_size=10)
    assert total(trainer, SimpleNamespace(max_images=None)) == 120
    trainer.max_epochs = -1
    assert total(trainer, SimpleNamespace(max_images=None)) is None


def test_progress_bar_counts_images(fit, capfd: pytest.CaptureFixture[str]) -> None:
    fit()
    shown = capfd.readouterr().err
    assert "64/64" in shown
    assert " images/s" in shown


def test_nothing_is_half_written(fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that fails on its way to the disk leaves the one before."""
    folder = fit()
    before = (folder / "last.ckpt").read_bytes()

    def full_disk(checkpoint):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lit_gen.checkpoint_file.sealed", full_disk)
    with pytest.raises(SystemExit) as ended:
        fit(f"--ckpt_path={folder}", "--model.max_images=96")
    assert ended.value.code == 2
    assert (folder / "last.ckpt").read_bytes() == before
    assert math.isfinite(lit_gen.load(folder / "last.ckpt").sample(1, seed=0).mean().item())
