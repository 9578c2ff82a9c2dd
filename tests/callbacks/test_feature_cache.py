"""The cache of features: the same training without the backbone, keyed by content, never where something changes."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from labelled import LabelledNoise, quiet_trainer
from lightning.pytorch import Callback
from torch import nn

from lit_gen import feature_store
from lit_gen.callbacks.feature_cache import FeatureCache
from lit_gen.errors import UserError
from lit_gen.feature_store import FeatureSet, backbone_digest, entry_for, read_through
from lit_gen.losses.penalties import R1
from lit_gen.models.classifier import Classifier
from lit_gen.models.gan import GAN
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.feature_discriminator import FeatureDiscriminator
from lit_gen.networks.features import NetworkBlocks, NetworkFeatures

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path))
    return tmp_path / "features"


def classifier(front: type = NetworkFeatures, n_blocks: int = 2) -> Classifier:
    torch.manual_seed(0)
    return Classifier(front(DCGANDiscriminator(28, 1, 2), n_blocks), n_classes=3, optimizer=SGD)


def gan() -> GAN:
    torch.manual_seed(0)
    discriminator = FeatureDiscriminator(NetworkFeatures(DCGANDiscriminator(28, 1, 2), 2), width=3)
    return GAN(DCGANGenerator(28, 1, 3, 2), discriminator, None, SGD, SGD, [R1(every=2)])


def count_images(front: nn.Module) -> list[int]:
    seen: list[int] = []
    front.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize("make", [classifier, gan])
def test_training_is_the_same_with_and_without(make) -> None:
    models = [make(), make()]
    for model, callbacks in zip(models, ([], [FeatureCache()]), strict=True):
        torch.manual_seed(1)
        quiet_trainer(callbacks=callbacks).fit(model, datamodule=LabelledNoise(labels=make is classifier))
    first, second = (model.state_dict() for model in models)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, msg=name)


def test_the_backbone_runs_once_for_all_epochs_and_all_runs(cache: Path) -> None:
    for run, expected in enumerate([24 + 12 + 1, 1]):  # train and validation images once; one to check the shapes
        model = classifier()
        seen = count_images(model.features)
        quiet_trainer(max_epochs=3, callbacks=[FeatureCache()]).fit(model, datamodule=LabelledNoise())
        assert sum(seen) == expected, run
    assert len(list(cache.glob("*.npy"))) == len(list(cache.iterdir())) == 2


def test_only_loaders_give_features_and_after_the_run_images_again() -> None:
    found = {}

    class Look(Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            data = trainer.datamodule
            found.update(batch=next(iter(data.train_dataloader())), row=data.train_set.__getitems__([0]))

    data, model = LabelledNoise(), classifier()
    trainer = quiet_trainer(callbacks=[FeatureCache(), Look()])
    trainer.fit(model, datamodule=data)
    assert found["batch"][0].shape == (8, 4, 7, 7)
    assert found["row"][0].shape == (1, 1, 28, 28)
    assert next(iter(data.train_dataloader()))[0].shape == (8, 1, 28, 28)
    assert not model.batches_hold_features
    (metrics,) = trainer.test(model, datamodule=data, verbose=False)
    assert 0 <= metrics["test/accuracy"] <= 1


def test_images_come_back_after_an_exception() -> None:
    class Fall(Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            raise RuntimeError("fell")

    data, model = LabelledNoise(), classifier()
    with pytest.raises(RuntimeError, match="fell"):
        quiet_trainer(callbacks=[FeatureCache(), Fall()]).fit(model, datamodule=data)
    assert next(iter(data.train_dataloader()))[0].shape == (8, 1, 28, 28)
    assert not model.batches_hold_features


def test_the_key_is_the_content_of_images_and_backbone() -> None:
    data = LabelledNoise()
    images, (labels,) = read_through(data.train_set)
    assert torch.equal(labels, data.train_set.labels)
    assert read_through(LabelledNoise().train_set)[0] == images
    data.train_set.images[3, 0, 5, 5] += 1e-3
    assert read_through(data.train_set)[0] != images

    front = classifier().features
    digest = backbone_digest(front)
    assert backbone_digest(classifier().features.to(memory_format=torch.channels_last)) == digest
    assert backbone_digest(classifier(n_blocks=1).features) != digest
    front.network.blocks[1][1].running_mean[0] += 1e-3
    assert backbone_digest(front) != digest
    assert entry_for(images, digest) != entry_for(digest, images)


def test_the_file_appears_whole_or_not_at_all(cache: Path) -> None:
    model, data = classifier(), LabelledNoise(n=100)
    calls = []

    def fails_late(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return model.features(images)

    path = entry_for("images", "backbone")
    arguments = (data.train_set, torch.device("cpu"), lambda _: None)
    with pytest.raises(RuntimeError, match="power cut"):
        feature_store.write_features(path, fails_late, *arguments)
    assert list(cache.iterdir()) == []
    feature_store.write_features(path, model.features, *arguments)
    feature_store.write_features(path, model.features, *arguments)  # a second process that was as fast
    assert list(cache.iterdir()) == [path]
    rows = FeatureSet(path, (data.train_set.labels,))
    with torch.no_grad():
        torch.testing.assert_close(rows.__getitems__([70, 3])[0], model.features(data.train_set.images[[70, 3]]))


def test_rows_travel_to_workers_without_the_file(cache: Path) -> None:
    data, path = LabelledNoise(), entry_for("images", "backbone")
    feature_store.write_features(path, classifier().features, data.train_set, torch.device("cpu"), lambda _: None)
    rows = FeatureSet(path, (data.train_set.labels,))
    packed = pickle.dumps(rows)
    assert len(packed) < 2_000 < path.stat().st_size
    again = pickle.loads(packed)
    assert len(again) == 24 and again[5][1] == 2
    assert torch.equal(again[5][0], rows[5][0])
    with pytest.raises(IndexError):
        rows[24]


def test_a_disk_without_room_or_rights_is_one_message(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="found 0.0 GB free"):
        quiet_trainer(callbacks=[FeatureCache()]).fit(classifier(), datamodule=LabelledNoise())
    cache.rmdir()
    cache.touch()
    with pytest.raises(UserError, match="LIT_GEN_CACHE"):
        quiet_trainer(callbacks=[FeatureCache()]).fit(classifier(), datamodule=LabelledNoise())


def test_what_changes_is_never_cached() -> None:
    def fit(model, data) -> None:
        quiet_trainer(callbacks=[FeatureCache()]).fit(model, datamodule=data)

    with pytest.raises(UserError, match="NetworkBlocks, are not frozen for good"):
        fit(classifier(NetworkBlocks), LabelledNoise())
    quiet = classifier(NetworkBlocks)
    quiet.features.requires_grad_(False)  # its batch statistics still move
    with pytest.raises(UserError, match="NetworkBlocks, are not frozen for good"):
        fit(quiet, LabelledNoise())
    with pytest.raises(UserError, match="augmented at random(.|\n)*--data.horizontal_flip false"):
        fit(classifier(), LabelledNoise(noise=0.1))
    flipped = LabelledNoise()
    flipped.horizontal_flip = True
    with pytest.raises(UserError, match="augmented at random"):
        fit(classifier(), flipped)
    plain = GAN(DCGANGenerator(28, 1, 3, 2), DCGANDiscriminator(28, 1, 2))
    with pytest.raises(UserError, match="GAN has no front"):
        fit(plain, LabelledNoise(labels=False))
    with pytest.raises(UserError, match="no data module"):
        quiet_trainer(callbacks=[FeatureCache()]).fit(classifier(), LabelledNoise().train_dataloader())


def test_weights_that_come_later_are_noticed() -> None:
    class Load(Callback):
        def on_fit_start(self, trainer, pl_module) -> None:
            nn.init.zeros_(pl_module.features.network.blocks[0][0].weight)

    quiet_trainer(callbacks=[Load(), FeatureCache()]).fit(classifier(), datamodule=LabelledNoise())
    with pytest.raises(UserError, match="List FeatureCache behind LoadWeights"):
        quiet_trainer(callbacks=[FeatureCache(), Load()]).fit(classifier(), datamodule=LabelledNoise())
