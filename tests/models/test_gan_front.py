"""A GAN whose discriminator looks through a frozen front: what passes it, how often, and what learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

import lit_gen
from lit_gen.losses.adversarial import HingeLoss
from lit_gen.losses.penalties import R1, GradientPenalty, Penalty
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.models.gan import GAN
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.feature_discriminator import FeatureDiscriminator
from lit_gen.networks.features import NetworkFeatures

SGD = partial(torch.optim.SGD, lr=0.1)


class Spy(Penalty):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__(every=1)
        self.given: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, discriminator: nn.Module, real: torch.Tensor, fake: torch.Tensor, *cond) -> torch.Tensor:
        self.given.append((real, fake))
        return discriminator(real, *cond).sum() * 0


def make(model: type[GAN] = GAN, **options) -> GAN:
    torch.manual_seed(0)
    front = NetworkFeatures(DCGANDiscriminator(28, 1, 2), n_blocks=2)
    discriminator = FeatureDiscriminator(front, width=3, spectral=False)
    defaults = {"loss": HingeLoss(), "generator_optimizer": SGD, "discriminator_optimizer": SGD}
    return model(DCGANGenerator(28, 1, 3, 2), discriminator, **{**defaults, **options})


def train(model: GAN, batches: int = 1, **options) -> Trainer:
    torch.manual_seed(1)
    loader = DataLoader([(image,) for image in torch.rand(batches * 4, 1, 28, 28) * 2 - 1], batch_size=4)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_epochs=1, enable_checkpointing=False, **quiet, **options)
    trainer.fit(model, loader)
    return trainer


def test_the_generator_learns_through_the_front_and_the_front_learns_nothing() -> None:
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, batches=2)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("discriminator.features.") for name in changed)
    assert {"generator.blocks.0.0.weight", "generator.head.weight", "discriminator.head.weight"} <= changed


@pytest.mark.parametrize("penalties", [[], [R1(every=1), GradientPenalty()]])
def test_the_front_sees_each_image_once(penalties: list[Penalty]) -> None:
    model = make(penalties=penalties)
    seen = []
    model.discriminator.features.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    train(model)
    assert seen == [2, 4, 4]  # the check before training; fakes; reals


def test_penalties_act_on_features() -> None:
    spy = Spy()
    train(make(penalties=[spy]))
    ((real, fake),) = spy.given
    assert real.shape == fake.shape == (4, 4, 7, 7)
    assert not real.requires_grad and not fake.requires_grad


def test_without_a_front_penalties_get_images() -> None:
    spy = Spy()
    train(GAN(DCGANGenerator(28, 1, 3, 2), DCGANDiscriminator(28, 1, 2), HingeLoss(), SGD, SGD, penalties=[spy]))
    ((real, fake),) = spy.given
    assert real.shape == fake.shape == (4, 1, 28, 28)


def test_features_in_the_batch_pass_the_front_by() -> None:
    by_images, by_features = make(penalties=[R1(every=1)]), make(penalties=[R1(every=1)])
    by_features.batches_hold_features = True
    train(by_images)
    front = by_features.discriminator.features
    torch.manual_seed(1)
    images = torch.rand(4, 1, 28, 28) * 2 - 1
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(by_features, DataLoader([(row,) for row in front(images)], batch_size=4))
    for name, value in by_images.state_dict().items():
        torch.testing.assert_close(by_features.state_dict()[name], value, msg=name)


def test_a_checkpoint_alone_rebuilds_front_and_all(tmp_path: Path) -> None:
    model = make()
    train(model).save_checkpoint(tmp_path / "last.ckpt")
    again = lit_gen.load(tmp_path / "last.ckpt")
    assert isinstance(again.discriminator.features, NetworkFeatures)
    assert not any(parameter.requires_grad for parameter in again.discriminator.features.parameters())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_conditional_gan_projects_on_the_label() -> None:
    from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator

    torch.manual_seed(0)
    front = NetworkFeatures(DCGANDiscriminator(28, 1, 2), n_blocks=2)
    discriminator = FeatureDiscriminator(front, width=3, n_classes=2)
    model = ConditionalGAN(ConditionalDCGANGenerator(28, 1, 2, 3, 2), discriminator, HingeLoss(), SGD, SGD)
    before = model.discriminator.head.embedding.parametrizations.weight.original.clone()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    rows = [(image, k % 2) for k, image in enumerate(torch.rand(4, 1, 28, 28) * 2 - 1)]
    Trainer(accelerator="cpu", max_epochs=1, **quiet).fit(model, DataLoader(rows, batch_size=4))
    assert not torch.equal(before, model.discriminator.head.embedding.parametrizations.weight.original)
