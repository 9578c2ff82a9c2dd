"""The classifier: it learns, says how well, freezes what is frozen, and comes back from its checkpoint alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from labelled import LabelledNoise, quiet_trainer

import lit_gen
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.sample_grid import SampleGrid
from lit_gen.errors import UserError
from lit_gen.models.classifier import Classifier
from lit_gen.networks.dcgan import DCGANDiscriminator
from lit_gen.networks.features import NetworkBlocks, NetworkFeatures

ADAM = partial(torch.optim.Adam, lr=0.03)


def make(front: type = NetworkFeatures, normalization: str = "none", **options) -> Classifier:
    torch.manual_seed(0)
    features = front(DCGANDiscriminator(28, 1, 2, normalization), n_blocks=2)
    return Classifier(features, **{"n_classes": 3, "optimizer": ADAM, **options})


def test_it_learns_classes_that_can_be_told_apart() -> None:
    model, data = make(NetworkBlocks), LabelledNoise()
    trainer = quiet_trainer(max_epochs=40)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["val/accuracy"] == 1
    (metrics,) = trainer.test(model, datamodule=data, verbose=False)
    assert metrics["test/accuracy"] == 1
    images, labels = data.test_set.__getitems__(list(range(12)))
    expected = F.cross_entropy(model.logits(images), labels).item()
    assert metrics["test/cross_entropy"] == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(model.probabilities(images).sum(1), torch.ones(12))


def test_one_step_is_the_cross_entropy_by_hand() -> None:
    model = make(label_smoothing=0.1, hidden=[4])
    images, labels = LabelledNoise().train_set.__getitems__([0, 1, 2, 3])
    model.log_dict = lambda *_, **__: None
    model._trainer = type("One", (), {"world_size": 2, "should_stop": False})()
    logits = model.head(model.features(images).mean((2, 3)))
    log_p = logits.log_softmax(1)
    expected = -(0.9 * log_p[range(4), labels] + 0.1 * log_p.mean(1)).mean()
    torch.testing.assert_close(model.training_step((images, labels), 0), expected)
    assert model.images_seen == 8  # over two processes


@pytest.mark.parametrize("normalization", ["batch", "spectral"])
def test_frozen_features_stay_and_others_learn(normalization: str) -> None:
    for front, stays in ((NetworkFeatures, True), (NetworkBlocks, False)):
        model = make(front, normalization)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        quiet_trainer().fit(model, datamodule=LabelledNoise())
        same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
        assert not any(name.startswith("head.") for name in same)
        used = ("features.network.blocks.0", "features.network.blocks.1")
        inside = {name for name in before if name.startswith(used)}
        assert (inside <= same) if stays else not (inside & same)


def test_it_stops_at_max_images_with_all_callbacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = make(max_images=32, dropout=0.2)
    callbacks = [SampleGrid(every=8), EMA(half_life=10, modules=["head"]), ImageProgressBar()]
    quiet_trainer(max_epochs=-1, callbacks=callbacks, default_root_dir=tmp_path, enable_progress_bar=True).fit(
        model, datamodule=LabelledNoise()
    )
    assert model.images_seen == 32
    assert not (tmp_path / "samples").exists()
    assert "32/32" in capfd.readouterr().err
    images = torch.rand(5, 1, 28, 28)
    averaged = model.head_ema.eval()(model.features(images).mean((2, 3)))
    torch.testing.assert_close(model.logits(images), averaged)
    assert not torch.equal(model.logits(images), model.head.eval()(model.features(images).mean((2, 3))))


def test_a_checkpoint_alone_rebuilds_it(tmp_path: Path) -> None:
    model, trainer = make(hidden=[4], max_images=16), quiet_trainer()
    trainer.fit(model, datamodule=LabelledNoise())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_gen.load(tmp_path / "last.ckpt")
    assert (again.images_seen, again.class_names, again.image_shape) == (16, model.class_names, (1, 28, 28))
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(again.logits(images), model.logits(images))


def test_data_that_does_not_suit_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"--model.n_classes is 3.\nType --data.labels true.$"):
        quiet_trainer().fit(make(), datamodule=LabelledNoise(labels=False))
    with pytest.raises(UserError, match="the data has 5 classes, the model has 3.\nType --model.n_classes 5, or"):
        quiet_trainer().fit(make(), datamodule=LabelledNoise(n_classes=5))
    data = LabelledNoise()
    data.train_set.images = data.train_set.images.repeat(1, 2, 1, 1)
    with pytest.raises(UserError, match="do not take the data's images, 2x28x28"):
        quiet_trainer().fit(make(), datamodule=data)


@pytest.mark.parametrize(
    "options", [{"n_classes": 1}, {"hidden": [0]}, {"dropout": 1.0}, {"label_smoothing": -0.1}, {"max_images": 0}]
)
def test_nonsense_is_refused(options: dict) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} is"):
        make(**options)


def test_a_bare_network_is_answered_with_what_to_wrap_it_in() -> None:
    with pytest.raises(UserError, match="features is a DCGANDiscriminator(.|\n)*NetworkFeatures(.|\n)*NetworkBlocks"):
        Classifier(DCGANDiscriminator(28, 1, 2), n_classes=3)


def test_an_optimizer_that_refuses_its_settings_is_one_message() -> None:
    with pytest.raises(UserError, match="model.optimizer: torch refuses its settings"):
        make(optimizer=partial(torch.optim.Adam, lr=-1.0)).configure_optimizers()
