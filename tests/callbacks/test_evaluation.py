"""Evaluation: the same numbers every time, the best weights kept, an idle run ended, training untouched."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled import LabelledNoise, quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from tiny_extractor import TinyExtractor
from tiny_models import conditional_gan, gan, vae

from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.evaluation import Evaluation
from lit_gen.errors import UserError
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.classification_accuracy import ClassificationAccuracy
from lit_gen.metrics.fid import FID
from lit_gen.metrics.kid import KID
from lit_gen.metrics.memorisation import Memorisation
from lit_gen.metrics.precision_recall import PrecisionRecall


class Notes(Logger):
    """Whatever is logged, in a list."""

    name = version = "notes"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def log_hyperparams(self, *args: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)

    def of(self, key: str) -> list[float]:
        return [row[key] for row in self.rows if key in row]


class Scripted(Metric):
    """Says one number after the other: what becomes of them is what is tested."""

    better = {"kid": "lower"}

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"kid": self.values.pop(0)}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, list[float]]:
        return {"kid": [0.0] * blocks}


def evaluation(**options: Any) -> Evaluation:
    return Evaluation(**{"every": 16, "n": 70, "n_test": 70, "extractor": TinyExtractor(), **options})


def fit(
    folder: Path,
    *callbacks: Callback,
    images: int = 48,
    model: LightningModule | None = None,
    n: int = 24,
    trainer: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Trainer, Notes]:
    """Trains a tiny GAN on small random images, three batches of eight an epoch."""
    notes = Notes()
    torch.manual_seed(0)
    # So fast that what it learns is seen in 8 bits.
    model = model or gan(generator_optimizer=partial(torch.optim.Adam, lr=0.05))
    model.max_images = images
    about = {"max_epochs": -1, "default_root_dir": folder, "callbacks": list(callbacks), "num_sanity_val_steps": 0}
    trainer = quiet_trainer(**{**about, "logger": notes, **(trainer or {})})
    data = LabelledNoise(n, labels=bool(getattr(model, "n_classes", None)))
    trainer.fit(model, datamodule=data, **options)
    return trainer, notes


def test_numbers_come_with_intervals_at_the_beginning_every_so_many_images_and_at_the_end(tmp_path: Path) -> None:
    _, notes = fit(tmp_path, EMA(), evaluation(), images=40)
    measured = [row for row in notes.rows if "val/kid_tiny" in row]
    assert len(measured) == 4  # at 0, 16, 32 and 40
    for name in ("kid", "fid", "precision", "recall", "density", "coverage", "copy_share", "near_copies"):
        for row in measured:
            low, value, high = (row[f"val/{name}_tiny{end}"] for end in ("_low", "", "_high"))
            assert low <= value <= high, name
    assert len({row["val/kid_tiny"] for row in measured}) == 4


def test_the_same_weights_give_the_same_numbers_and_training_does_not_notice(tmp_path: Path) -> None:
    with_it, notes = fit(tmp_path / "a", evaluation())
    again, notes_again = fit(tmp_path / "b", evaluation())
    without, _ = fit(tmp_path / "c")
    assert notes.of("val/kid_tiny") == notes_again.of("val/kid_tiny")
    assert notes.of("val/kid_tiny")
    for name, value in with_it.lightning_module.state_dict().items():
        assert torch.equal(value, without.lightning_module.state_dict()[name]), name


def test_an_average_that_stands_behind_is_as_it_is_in_training(tmp_path: Path) -> None:
    """Both orders of the list begin with the weights that training begins with."""
    first, second = (fit(tmp_path / str(k), *callbacks)[1] for k, callbacks in enumerate(
        [(EMA(), evaluation()), (evaluation(), EMA())]))  # fmt: skip
    assert first.of("val/kid_tiny")[0] == second.of("val/kid_tiny")[0]


def test_the_best_weights_are_kept_and_nothing_of_the_extractor(tmp_path: Path) -> None:
    fit(tmp_path, evaluation(metrics=[Scripted(3.0, 1.0, 2.0, 2.5)]))
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["images_seen"] == 16
    assert best["metrics"]["val/kid_tiny"] == 1.0
    assert not [name for name in best["state_dict"] if not name.startswith(("generator", "discriminator"))]
    assert not list(tmp_path.glob(".best*"))


def test_a_run_that_gets_no_better_ends_and_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = evaluation(metrics=[Scripted(3.0, 1.0, 2.0, 1.5, 9.0)], patience=32)
    with caplog.at_level(logging.INFO):
        trainer, notes = fit(tmp_path, callback, images=400)
    assert trainer.lightning_module.images_seen == 48
    assert notes.of("val/kid_tiny") == [3.0, 1.0, 2.0, 1.5]
    assert "Stopped after 48 images: kid was best after 16 images (1) and no better in the 32 since" in caplog.text
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["images_seen"] == 16


def test_a_resumed_run_knows_its_best(tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, evaluation(metrics=[Scripted(3.0, 1.0, 2.0)]), images=32)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resume = {"ckpt_path": tmp_path / "last.ckpt", "weights_only": True}
    callback = evaluation(metrics=[Scripted(1.5, 1.7, 1.1)], patience=48)
    trainer, notes = fit(tmp_path, callback, images=400, **resume)
    assert notes.of("val/kid_tiny") == [1.5, 1.7]  # not once more at 32, where the first part ended
    assert trainer.lightning_module.images_seen == 64
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["images_seen"] == 16


def test_a_model_that_has_diverged_is_no_better_and_trains_on(tmp_path: Path) -> None:
    class Diverge(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            if pl_module.images_seen == 24:
                torch.nn.init.constant_(pl_module.generator.head.weight, math.nan)

    with pytest.warns(UserWarning, match="64 of 64 images not finite among generated images"):
        trainer, notes = fit(tmp_path, Diverge(), evaluation(), images=32)
    assert trainer.lightning_module.images_seen == 32
    assert len(notes.of("val/kid_tiny")) == 2


def test_every_family_that_makes_images_is_measured(tmp_path: Path) -> None:
    for place, model in enumerate((vae(), conditional_gan())):
        _, notes = fit(tmp_path / str(place), evaluation(metrics=[KID()]), images=8, model=model)
        assert len(notes.of("val/kid_tiny")) == 2


def test_classes_are_asked_for_in_the_proportions_of_the_real_images(tmp_path: Path) -> None:
    callback = evaluation(metrics=[KID()], n=100)
    fit(tmp_path, callback, images=8, model=conditional_gan())
    (subject,) = callback.subjects
    labels = subject.reals.images.labels
    assert torch.equal(subject.labels[: len(labels)], labels)
    assert len(subject.labels) == 100


def test_train_images_are_an_opponent_only_by_name(tmp_path: Path) -> None:
    _, notes = fit(tmp_path, evaluation(metrics=[KID()], against="train"), images=8)
    assert notes.of("val/kid_tiny_on_train")
    assert not notes.of("val/kid_tiny")


@pytest.mark.parametrize(
    ("options", "n", "said"),
    [
        ({"monitor": "kidd"}, 24, 'Did you mean "kid"'),
        ({"metrics": [PrecisionRecall(30)], "monitor": "recall"}, 24, "found 12 real images, expected at least 32"),
        ({"n": 3}, 24, "found 3 generated images, expected at least"),
        ({"metrics": [Memorisation()], "monitor": "copy_share"}, 16, "found 8 real images, expected at least"),
        ({"metrics": [FID()], "monitor": "fid"}, 1, "found no val images in LabelledNoise"),
    ],
)
def test_mistakes_are_found_before_training(options: dict[str, Any], n: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        fit(tmp_path, evaluation(**options), n=n)
    assert not (tmp_path / "best.ckpt").exists()


def test_a_metric_that_the_model_is_not_made_for_is_no_silent_gap(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ClassificationAccuracy"):
        fit(tmp_path, evaluation(metrics=[KID(), ClassificationAccuracy()]))


def test_the_end_of_a_run_is_not_an_early_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = evaluation(metrics=[Scripted(1.0, 2.0, 2.0)], patience=20)
    with caplog.at_level(logging.INFO):
        fit(tmp_path, callback, images=400, trainer={"max_epochs": 1})
    assert not callback.stopped and "Stopped" not in caplog.text


@pytest.mark.parametrize("name", ["every", "n", "n_test", "patience"])
def test_counts_of_images_are_positive(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0, but at least 1 image is needed"):
        Evaluation(**{name: 0})


def test_real_images_that_are_all_the_same(tmp_path: Path) -> None:
    data = LabelledNoise(24, labels=False)
    data.val_set.images[:] = 0.5
    trainer = quiet_trainer(default_root_dir=tmp_path, callbacks=[evaluation()])
    with pytest.raises(UserError, match="all 12 real images look the same to tiny"):
        trainer.fit(gan(), datamodule=data)
