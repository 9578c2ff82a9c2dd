"""Extractors: frozen for good, named by what they see, the same numbers as the networks that they stand for."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from labelled import LabelledNoise, quiet_trainer
from timm_stand_in import stand_in
from tiny_models import cyclegan, gan, vae
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from datamodules.transforms import to_uint8
from lit_gen.errors import UserError
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.inception import InceptionExtractor
from lit_gen.metrics.own_checkpoint import CheckpointExtractor
from lit_gen.metrics.timm_model import TimmExtractor
from lit_gen.models.classifier import Classifier
from lit_gen.networks.dcgan import DCGANDiscriminator
from lit_gen.networks.efficientnet_lite import EfficientNetLite
from lit_gen.networks.features import NetworkBlocks, run_blocks
from lit_gen.run_folder import Record


def check(extractor: Extractor, n_logits: int | None = None) -> None:
    """What is true of all of them."""
    grey = torch.rand(1, 1, 40, 40) * 2 - 1
    before = {name: value.clone() for name, value in extractor.state_dict().items()}
    assert (
        not extractor.training
        and not extractor.train().training
        and not any(part.training for part in extractor.modules())
    )
    features = extractor(grey)
    assert features.shape == (1, extractor.n_features) and features.dtype == torch.float32
    assert not features.requires_grad and not any(value.requires_grad for value in extractor.parameters())
    torch.testing.assert_close(extractor(grey.expand(-1, 3, -1, -1)), features, rtol=1e-4, atol=1e-5)
    assert extractor(torch.rand(1, 3, 40, 40)).shape == (1, extractor.n_features)
    logits = extractor.classify(features)
    assert logits is None if n_logits is None else logits.shape == (1, n_logits)
    for name, value in extractor.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_efficientnet_sees_what_its_classifier_is_given() -> None:
    extractor = EfficientNetExtractor(input_size=40)
    check(extractor, 1000)
    images = torch.rand(2, 3, 40, 40) * 2 - 1
    with torch.no_grad():
        expected = EfficientNetLite("lite0").eval()(images)
    torch.testing.assert_close(extractor.classify(extractor(images)), expected, rtol=1e-4, atol=1e-4)


def test_efficientnet_is_named_by_its_weights_and_its_size() -> None:
    names = [EfficientNetExtractor(*arguments).name for arguments in ((), ("lite1",), ("lite0", 64))]
    assert names == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite0_64px"]
    with pytest.raises(UserError, match="found input_size 31, expected 32 pixels or more"):
        EfficientNetExtractor(input_size=31)
    with pytest.raises(UserError, match="expected lite0 or lite1"):
        EfficientNetExtractor("lite2")


class Untrained(FeatureExtractorInceptionV3):
    """torch-fidelity's own, which otherwise cannot be had without its weights."""

    def load_state_dict(self, state_dict: dict) -> None:
        """He et al. 2015, so that what it says depends on the image; what it was born with hardly does."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureExtractorInceptionV3, Path]:
    """An untrained network of torch-fidelity, and the file of its weights in the real format."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    network = Untrained("untrained", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path))
    torch.save(network.state_dict(), path)
    return network, path


def test_inception_is_the_one_of_torch_fidelity(inception: tuple[FeatureExtractorInceptionV3, Path]) -> None:
    network, path = inception
    extractor = InceptionExtractor(str(path))
    assert extractor.name.startswith("inception_v3_")  # not the published weights
    check(extractor, 1008)
    images = torch.rand(1, 3, 40, 40) * 2.2 - 1.1
    features, logits = network(to_uint8(images))
    torch.testing.assert_close(extractor(images), features, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(extractor.classify(features), logits, rtol=1e-6, atol=1e-6)


def test_inception_without_its_weights_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="could not be fetched(.|\n)*type weights:.*EfficientNetExtractor"):
        InceptionExtractor()
    with pytest.raises(UserError, match="no checkpoint at"):
        InceptionExtractor(str(tmp_path / "nothing.pth"))
    other = tmp_path / "other.pth"
    torch.save(nn.Linear(2, 2).state_dict(), other)
    with pytest.raises(UserError, match="does not hold the weights of torch-fidelity's Inception-v3"):
        InceptionExtractor(str(other))
    torch.save(nn.Linear(2, 2), other)  # a pickle that runs code
    with pytest.raises(UserError, match="pickled code"):
        InceptionExtractor(str(other))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match="pip install torch-fidelity"):
        InceptionExtractor()


def saved(model: nn.Module, path: Path) -> Path:
    trainer = quiet_trainer()
    trainer.strategy.connect(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(path)
    return path


def test_a_classifier_gives_features_and_logits(tmp_path: Path) -> None:
    model = Classifier(NetworkBlocks(DCGANDiscriminator(28, 1, 2)), n_classes=3)
    quiet_trainer(max_epochs=1).fit(model, datamodule=LabelledNoise())
    path = saved(model, tmp_path / "animals.ckpt")
    extractor = CheckpointExtractor(str(path))
    assert extractor.name.startswith("animals_") and extractor.input_size == 28
    check(extractor, 3)
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    torch.testing.assert_close(extractor.classify(extractor(images)), model.logits(images))
    with pytest.raises(UserError, match="module: features.network"):
        CheckpointExtractor(str(path), n_blocks=1)
    blocks = CheckpointExtractor(str(path), "features.network", n_blocks=1)
    torch.testing.assert_close(blocks(images), model.eval().features.network.blocks[0](images).mean((2, 3)))
    assert blocks.name != extractor.name


@pytest.mark.parametrize("make", [gan, vae])
def test_a_discriminator_or_an_encoder_gives_its_blocks(make: Callable[..., nn.Module], tmp_path: Path) -> None:
    model = make()
    path = saved(model, tmp_path / "gan_cats" / "run" / "last.ckpt")
    Record("gan_cats", 0).write(path.parent)
    extractor = CheckpointExtractor(str(path.parent), output="flat")
    assert extractor.name.startswith("gan_cats_") and len(extractor.name) == len("gan_cats_") + 8
    check(extractor)
    images, network = torch.rand(2, 1, 28, 28) * 2 - 1, (model.discriminator if make is gan else model.encoder).eval()
    torch.testing.assert_close(extractor(images), run_blocks(network.blocks, images).flatten(1))
    shallow = CheckpointExtractor(str(path), n_blocks=1)
    assert shallow.n_features < extractor.n_features and shallow.name != extractor.name
    with torch.no_grad():
        next(network.parameters()).mul_(2)
    saved(model, path)
    assert CheckpointExtractor(str(path), n_blocks=1).name != shallow.name


def test_a_checkpoint_that_makes_no_features_is_a_message(tmp_path: Path) -> None:
    path = saved(cyclegan(), tmp_path / "horses.ckpt")
    with pytest.raises(UserError, match="is a CycleGAN, expected a discriminator.*\nType module: discriminator_b"):
        CheckpointExtractor(str(path))
    assert CheckpointExtractor(str(path), "discriminator_b").n_features > 1
    with pytest.raises(UserError, match="has no module 'discriminator_c'"):
        CheckpointExtractor(str(path), "discriminator_c")
    with pytest.raises(UserError, match="CheckpointExtractor: no checkpoint at"):
        CheckpointExtractor(str(tmp_path / "cats.ckpt"))
    with pytest.raises(UserError, match="expected mean or flat"):
        CheckpointExtractor(str(path), output="maps")


def test_a_model_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in())
    first, again, larger = (TimmExtractor("tiny_net", False, size) for size in (None, None, 48))
    check(first)
    assert first.name.startswith("timm_tiny_net_untrained_") and first.name != again.name
    assert "_48px_untrained_" in larger.name and larger(torch.zeros(1, 1, 8, 8)).shape == (1, 5)
    with pytest.raises(UserError, match="no route to the hub\nIts.*EfficientNetExtractor"):
        TimmExtractor("tiny_net")
    with pytest.raises(UserError, match="TimmExtractor: found input_size 8"):
        TimmExtractor("tiny_net", input_size=8)
