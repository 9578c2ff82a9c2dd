"""The adversarial step: who learns when, from what, and in which mode images are made."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lit_gen
from lit_gen.errors import UserError
from lit_gen.losses.adversarial import AdversarialLoss, HingeLoss, WassersteinLoss
from lit_gen.losses.penalties import R1, Penalty
from lit_gen.models.gan import GAN
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.mlp import MLPDiscriminator, MLPGenerator

SGD = partial(torch.optim.SGD, lr=0.1)


def make(**options) -> GAN:
    torch.manual_seed(0)
    generator = MLPGenerator(image_size=4, latent_dim=3, hidden=[5])
    discriminator = MLPDiscriminator(image_size=4, hidden=[5])
    defaults = {"generator_optimizer": SGD, "discriminator_optimizer": SGD}
    return GAN(generator, discriminator, **{**defaults, **options})


def train(model: GAN, batches: int, batch_size: int = 4, **options) -> Trainer:
    torch.manual_seed(1)
    images = torch.rand(batches * batch_size, 1, 4, 4) * 2 - 1
    loader = DataLoader([(image,) for image in images], batch_size=batch_size)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", **{"max_epochs": 1, **quiet, **options})
    trainer.fit(model, loader)
    return trainer


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def changed(network: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_one_step_is_the_two_updates_by_hand() -> None:
    model, twin = make(loss=HingeLoss()), make(loss=HingeLoss())
    torch.manual_seed(1)
    real = torch.rand(4, 1, 4, 4) * 2 - 1
    train(model, batches=1)
    # algorithm 1 by hand on the twin, from the same random stream
    torch.manual_seed(1)
    torch.rand(4, 1, 4, 4)
    noise = _noise_of_first_step(twin)
    fake = twin.generator(noise)
    loss_d = (1 - twin.discriminator(real)).relu().mean() + (1 + twin.discriminator(fake.detach())).relu().mean()
    _descend(loss_d, twin.discriminator)
    _descend(-twin.discriminator(fake).mean(), twin.generator)
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def _descend(loss: torch.Tensor, network: nn.Module) -> None:
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
        parameter.data.sub_(0.1 * gradient)


def _noise_of_first_step(model: GAN) -> torch.Tensor:
    """Replays the random draws of `train` up to the first latents."""
    drawn: list[torch.Tensor] = []
    spied = make(loss=HingeLoss())
    spied.generator.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0].detach().clone()))
    train(spied, batches=1)
    return drawn[-1]


def test_the_generator_waits_for_its_turn() -> None:
    model = make(discriminator_steps=3)
    generator, discriminator = weights(model.generator), weights(model.discriminator)
    train(model, batches=2)
    assert not changed(model.generator, generator)
    assert changed(model.discriminator, discriminator)
    model = make(discriminator_steps=3)
    train(model, batches=3)
    assert changed(model.generator, generator)


def test_accumulated_batches_are_one_large_batch() -> None:
    """Without noise in the fakes, two half batches give the gradient of the whole."""
    whole, halves = make(loss=WassersteinLoss()), make(loss=WassersteinLoss(), accumulate_batches=2)
    for model in (whole, halves):
        model.generator.forward = lambda z, g=model.generator: g.head.bias.view(1, 1, 4, 4).expand(len(z), -1, -1, -1)
    train(whole, batches=1, batch_size=4)
    before = weights(halves.discriminator)
    train(halves, batches=2, batch_size=2)
    assert changed(halves.discriminator, before)
    for found, expected in zip(halves.discriminator.parameters(), whole.discriminator.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    unfinished = make(accumulate_batches=2)
    before = weights(unfinished.discriminator)
    train(unfinished, batches=1)
    assert not changed(unfinished.discriminator, before)


def test_gradients_are_clipped_network_by_network() -> None:
    model = make(gradient_clip=0.01, loss=WassersteinLoss())
    before = {name: weights(getattr(model, name)) for name in ("generator", "discriminator")}
    train(model, batches=1)
    for name, old in before.items():
        steps = [(new - was).flatten() for new, was in zip(getattr(model, name).parameters(), old, strict=True)]
        assert torch.cat(steps).norm() <= 0.1 * 0.01 * 1.001  # learning rate times the greatest norm
    free = make(loss=WassersteinLoss())
    train(free, batches=1)
    assert changed(free.generator, weights(model.generator))


class Counting(Penalty):
    """Counts its calls and adds nothing."""

    def __init__(self, every: int = 1) -> None:
        super().__init__(every)
        self.calls = 0

    def __call__(self, discriminator, real, fake, *cond):
        self.calls += 1
        return real.sum() * 0


def test_lazy_penalties_come_at_every_kth_update() -> None:
    penalty = Counting(every=3)
    train(make(penalties=[penalty]), batches=7)
    assert penalty.calls == 3


def test_penalty_is_weighted_by_its_interval() -> None:
    """R1 every 2nd update at weight 2 pulls as hard as R1 at every update: the first step shows the factor."""
    plain, lazy = make(penalties=[R1(gamma=2.0, every=1)]), make(penalties=[R1(gamma=1.0, every=2)])
    train(plain, batches=1)
    train(lazy, batches=1)
    for found, expected in zip(lazy.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_training_stops_by_images() -> None:
    model = make(max_images=10)
    trainer = train(model, batches=8, max_epochs=100)
    assert model.images_seen == 12  # the batch that passes the mark is the last
    assert trainer.fit_loop.total_batch_idx == 2


def test_a_frozen_front_sees_each_fake_once() -> None:
    model = make()
    seen: list[int] = []
    model.discriminator.features = lambda images: (seen.append(len(images)), images)[1]
    train(model, batches=2)
    fronts_by_step = 2 * [4, 4]
    check_of_sizes = [2]
    assert sorted(seen) == sorted(fronts_by_step + check_of_sizes)


def test_sampling_uses_the_average_and_puts_every_mode_back() -> None:
    torch.manual_seed(0)
    model = GAN(DCGANGenerator(28, 1, latent_dim=4, width=2), DCGANDiscriminator(28, 1, width=2))
    model.train()
    model.generator.blocks[0].eval()  # a frozen block stays as its user left it
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = model.sample(5, seed=3)
    assert images.shape == (5, 1, 28, 28)
    assert images.abs().max() <= 1
    assert not images.requires_grad
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(model.sample(5, seed=3), images, rtol=0, atol=0)
    torch.testing.assert_close(
        torch.cat([made.images for made in model.make("sample", 5, seed=3, batch_size=2)]), images
    )
    assert not torch.equal(model.sample(5, seed=4), images)


def test_a_model_built_in_python_comes_back_from_its_checkpoint_alone(tmp_path) -> None:
    model = GAN(
        DCGANGenerator(28, 1, latent_dim=4, width=2),
        DCGANDiscriminator(28, 1, width=2, normalization="spectral"),
        loss=HingeLoss(),
        generator_optimizer=partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)),
        penalties=[R1(gamma=3.0)],
    )
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    trainer.fit(model, DataLoader([(torch.zeros(1, 28, 28),)] * 4, batch_size=2))
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    torch.load(tmp_path / "mine.ckpt", weights_only=True)
    again = lit_gen.load(tmp_path / "mine.ckpt")
    assert isinstance(again.loss, HingeLoss)
    assert again.penalties[0].gamma == 3.0
    assert again.discriminator.normalization == "spectral"
    assert again.images_seen == 4
    optimizer = again.generator_optimizer(again.generator.parameters())
    assert optimizer.defaults["lr"] == 1e-3
    assert tuple(optimizer.defaults["betas"]) == (0.0, 0.9)
    torch.testing.assert_close(again.sample(3, seed=0), model.sample(3, seed=0))


def test_a_lambda_says_when_it_cannot_be_recorded(tmp_path) -> None:
    model = make(generator_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    trainer = train(model, batches=1)
    with pytest.warns(UserWarning, match="`generator_optimizer` is a function"):
        trainer.save_checkpoint(tmp_path / "mine.ckpt")
    assert lit_gen.load(tmp_path / "mine.ckpt").sample(2, seed=0).shape == (2, 1, 4, 4)


def test_clipping_scaled_gradients_is_refused() -> None:
    model = make(gradient_clip=1.0)
    model.trainer = Trainer(accelerator="cpu", logger=False)
    assert model.configure_optimizers()
    model.trainer.strategy.precision_plugin.precision = "16-mixed"
    with pytest.raises(UserError, match="bf16-mixed"):
        model.configure_optimizers()


def test_labels_are_refused_where_the_model_knows_none() -> None:
    model = make()
    with pytest.raises(UserError, match="these images are made without"):
        model.sample(2, labels=[0, 1])


def test_gradient_norms_are_those_of_the_step() -> None:
    """With SGD a step is the gradient times the rate."""
    model = make()
    before = {name: weights(getattr(model, name)) for name in ("generator", "discriminator")}
    train(model, batches=1, log_every_n_steps=1)
    for name, old in before.items():
        steps = [new - was for new, was in zip(weights(getattr(model, name)), old, strict=True)]
        norm = torch.cat([step.flatten() for step in steps]).norm() / 0.1
        torch.testing.assert_close(model.progress[f"train/{name}_gradient_norm"], norm)


@pytest.mark.parametrize("loss", [c for c in AdversarialLoss.__subclasses__() if c.__module__.endswith("adversarial")])
def test_every_loss_trains(loss: type[AdversarialLoss]) -> None:
    model = make(loss=loss())
    before = weights(model)
    train(model, batches=2)
    assert all(value.isfinite().all() for value in model.parameters())
    assert changed(model, before)


def test_memorised_reals_pass_where_held_out_ones_do_not() -> None:
    """The gauge of over-fitting: a discriminator that knows its train images, and only them."""

    class Knows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * (x.flatten(1).mean(1) - 0.5).sign()  # train images are white, the others are not

    class Data(LightningDataModule):
        train_set = TensorDataset(torch.ones(8, 1, 4, 4))

        def train_dataloader(self) -> DataLoader:
            return DataLoader(self.train_set, batch_size=4)

        def val_dataloader(self) -> DataLoader:
            return DataLoader(TensorDataset(torch.zeros(8, 1, 4, 4)), batch_size=4)

    model = GAN(MLPGenerator(image_size=4, latent_dim=3, hidden=[5]), Knows(), discriminator_optimizer=SGD)
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False,
                      enable_checkpointing=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(model, datamodule=Data())
    assert trainer.callback_metrics["val/train_real_accuracy"] == 1
    assert trainer.callback_metrics["val/real_accuracy"] == 0
