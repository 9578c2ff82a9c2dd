"""Augmentation in the adversarial step: what the discriminators see, what nobody else sees, what a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from families import Data, make, train
from labelled import LabelledNoise, quiet_trainer
from lightning.pytorch import LightningModule
from tiny_models import gan, snapshot
from tiny_models import train as train_gan
from torch import Tensor, nn

import lit_gen
from lit_gen.augmentations.ada import ADA
from lit_gen.augmentations.base import Augmentation
from lit_gen.augmentations.diff_augment import DiffAugment
from lit_gen.callbacks.feature_cache import FeatureCache
from lit_gen.callbacks.load_weights import LoadWeights
from lit_gen.errors import UserError
from lit_gen.losses.adversarial import LeastSquaresLoss
from lit_gen.losses.penalties import Penalty
from lit_gen.models.gan import GAN
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.feature_discriminator import FeatureDiscriminator
from lit_gen.networks.features import NetworkFeatures
from lit_gen.transfer.plan import KEPT, UNUSED

ADVERSARIAL = ("gan", "conditional gan", "cyclegan")


class Raise(Augmentation):
    """Adds 10: whoever sees numbers above 5 sees augmented images."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []
        self.observed: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(images.detach().clone())
        return images + 10

    @property
    def kinds(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return {"raise": self}

    def observe(self, real_logits: Tensor) -> None:
        assert not real_logits.requires_grad
        self.observed.append(real_logits)


def judged_by(model: LightningModule) -> list[Tensor]:
    """What its discriminators are going to see while they train."""
    seen: list[Tensor] = []

    def look(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if network.training:
            seen.append(inputs[0].detach().clone())

    for name, network in model.named_children():
        if name.startswith("discriminator"):
            network.register_forward_pre_hook(look)
    return seen


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_discriminators_see_nothing_else_in_training(family: str) -> None:
    model = make(family, augment=Raise())
    seen = judged_by(model)
    train(model, family, batches=2)
    assert len(seen) == 2 * (6 if family == "cyclegan" else 3)
    assert all((images > 5).all() for images in seen)
    assert all((images <= 1).all() for images in model.augment.given)  # once, not twice: pools keep what was made
    for pool in getattr(model, "pools", {}).values():
        assert pool.images.abs().max() <= 1
    for name in ("sample", "translate"):
        if hasattr(model, name):
            assert getattr(model, name)(torch.zeros(2, 1, 28, 28) if name == "translate" else 2).max() <= 1


def test_one_augmented_fake_serves_both_updates() -> None:
    model = make("gan", augment=Raise())
    seen = judged_by(model)
    train(model, "gan")
    real, fake, fake_again = seen
    assert torch.equal(fake, fake_again)
    assert len(model.augment.given) == 2
    assert torch.equal(real, model.augment.given[1] + 10)


def test_the_generator_learns_through_it() -> None:
    """With least squares and a discriminator that is a mean, one step is known by hand."""

    class Double(Raise):
        def forward(self, images: Tensor) -> Tensor:
            return 2 * images

    class One(nn.Module):
        latent_dim = 1

        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.tensor(0.25))

        def forward(self, z: Tensor) -> Tensor:
            return self.level.expand(len(z), 1, 28, 28)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x.mean((1, 2, 3))

    sgd, still = partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=0.0)
    model = GAN(One(), Mean(), LeastSquaresLoss(), sgd, still, augment=Double())
    train(model, "gan")
    # loss (2 level - 1)^2 / 2, its gradient 2 (2 level - 1) = -1
    torch.testing.assert_close(model.generator.level.detach(), torch.tensor(0.35))


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_it_hears_of_each_batch_what_the_reals_were_taken_for(family: str) -> None:
    model = make(family, augment=Raise(), loss=LeastSquaresLoss())
    logits: list[Tensor] = []
    for name in ("discriminator", "discriminator_a", "discriminator_b"):
        if hasattr(model, name):
            getattr(model, name).register_forward_hook(lambda _, inputs, output: logits.append(output.detach()))
    train(model, family, batches=1)
    (observed,) = model.augment.observed
    assert len(observed) == 4  # images of one domain
    if family != "cyclegan":
        real = next(found for found in logits if len(found) == 4)  # the check before training has 2
        torch.testing.assert_close(observed, real - 0.5)  # half-way between the targets 0 and 1
    else:
        assert observed.shape[1] == 2 * logits[-1][0].numel()


def test_a_front_sees_each_augmented_image_once_and_penalties_see_its_features() -> None:
    class Spy(Penalty):
        def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, *cond: Tensor) -> Tensor:
            given.extend([real, fake])
            return real.sum() * 0

    given: list[Tensor] = []
    front = NetworkFeatures(DCGANDiscriminator(28, 1, 2), n_blocks=2)
    model = GAN(
        DCGANGenerator(28, 1, 3, 2), FeatureDiscriminator(front, width=3), penalties=[Spy(every=1)], augment=Raise()
    )
    seen: list[tuple[Tensor, Tensor]] = []
    front.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].detach(), output.detach())))
    train(model, "gan")
    check, (fake, fake_features), (real, real_features) = seen
    assert len(check[0]) == 2
    assert (fake > 5).all() and (real > 5).all()
    assert torch.equal(given[0], real_features) and torch.equal(given[1], fake_features)


def test_validation_and_gauges_do_not_augment() -> None:
    model = gan(augment=Raise())
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    quiet_trainer(num_sanity_val_steps=0).validate(model, datamodule=LabelledNoise(labels=False), verbose=False)
    assert len(seen) >= 3
    assert not model.augment.given and all((images <= 1).all() for images in seen)


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_its_strength_is_logged_where_it_has_one(family: str) -> None:
    for augment, logged in ((ADA(target=-0.99, speed=40, every=1), 0.2), (DiffAugment(), None), (None, None)):
        model = make(family, augment=augment)
        trainer = train(model, family, batches=2, log_every_n_steps=1)
        found = trainer.callback_metrics.get("train/augment_strength")
        if logged is None:
            assert found is None
        else:  # two batches of 4 images
            assert 0 <= found <= logged
            torch.testing.assert_close(found, augment.strength)
            assert augment.images == augment.batches == 0


@pytest.mark.parametrize("every", [3, 100])
def test_its_state_goes_on_with_the_run(every: int, tmp_path: Path) -> None:
    """32 images and 32 more are 64, strength and the half-finished mean included."""
    models = []
    for parts in ((64,), (32, 64)):
        resume = None
        for part in parts:
            torch.manual_seed(0)
            model = gan(augment=ADA(target=-0.99, speed=200, every=every))
            train_gan(model, part, save=tmp_path / f"{part}.ckpt", resume=resume)
            resume = tmp_path / f"{part}.ckpt"
        models.append(model)
    first, second = (snapshot(model) for model in models)
    assert (first["augment.probability"] > 0) == (every == 3) and first["augment.images"] > 0
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_checkpoint_alone_rebuilds_it(tmp_path: Path) -> None:
    model = gan(augment=ADA(most=0.7, every=1, rotation=True))
    model.augment.probability.fill_(0.25)
    train_gan(model, 8, save=tmp_path / "last.ckpt")
    again = lit_gen.load(tmp_path / "last.ckpt")
    assert (again.augment.most, again.augment.rotation) == (0.7, True)
    assert torch.equal(again.augment.strength, model.augment.strength)
    policy = gan(augment=DiffAugment(["cutout"]))
    train_gan(policy, 8, save=tmp_path / "policy.ckpt")
    assert lit_gen.load(tmp_path / "policy.ckpt").augment.policy == ["cutout"]


@pytest.mark.parametrize("before,after", [(None, ADA), (ADA, None), (DiffAugment, ADA), (ADA, DiffAugment)])
def test_a_run_may_go_on_or_begin_with_another_one(before: type | None, after: type | None, tmp_path: Path) -> None:
    """Resumed, and as the source of a transfer, without a word about it."""
    train_gan(gan(augment=before and before()), 8, save=tmp_path / "last.ckpt")
    weights = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    resumed = gan(augment=after and after())
    train_gan(resumed, 16, resume=tmp_path / "last.ckpt")
    assert resumed.images_seen == 16
    torch.manual_seed(5)
    begun = gan(augment=after and after())
    own = {name: value.clone() for name, value in begun.augment.state_dict().items()} if after else {}
    loader = LoadWeights(str(tmp_path / "last.ckpt"))
    quiet_trainer(max_epochs=0, callbacks=[loader], default_root_dir=tmp_path / "new").fit(
        begun, datamodule=Data("gan", 1)
    )
    assert torch.equal(begun.generator.head.weight, weights["generator.head.weight"])
    assert all(torch.equal(value, own[name]) for name, value in (begun.augment.state_dict() if after else {}).items())


def test_a_transfer_leaves_the_strength_alone(tmp_path: Path) -> None:
    source, model = gan(augment=ADA()), gan(augment=ADA())
    source.augment.probability.fill_(0.5)
    train_gan(source, 8, save=tmp_path / "last.ckpt")
    loader = LoadWeights(str(tmp_path / "last.ckpt"))
    plan = loader.plan(model, loader.open())
    assert not [name for name in plan.values if name.startswith("augment")]
    assert {row.status for row in plan.rows if row.name.startswith("augment")} == {KEPT, UNUSED}


def test_features_of_images_that_are_augmented_cannot_be_kept() -> None:
    front = NetworkFeatures(DCGANDiscriminator(28, 1, 2), n_blocks=2)
    model = GAN(DCGANGenerator(28, 1, 3, 2), FeatureDiscriminator(front, width=3), augment=DiffAugment())
    with pytest.raises(UserError, match="GAN augments its images by DiffAugment(.|\n)*--model.augment null"):
        quiet_trainer(callbacks=[FeatureCache()]).fit(model, datamodule=LabelledNoise(labels=False))
