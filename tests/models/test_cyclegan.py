"""The cyclic step: both updates, the pool of fakes, what is counted, what is translated and by whose weights."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

import lit_gen
from lit_gen.callbacks.ema import EMA
from lit_gen.errors import UserError
from lit_gen.image_pool import ImagePool, deal
from lit_gen.losses.adversarial import HingeLoss, LeastSquaresLoss
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.translation import TranslationGenerator

SGD = partial(torch.optim.SGD, lr=0.1)
SIDE = 8


class Scale(nn.Module):
    """The smallest generator: x times a number."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def make(**options) -> CycleGAN:
    torch.manual_seed(0)
    networks = {name: TranslationGenerator(1, width=2, n_blocks=1) for name in ("generator_ab", "generator_ba")}
    networks |= {name: PatchDiscriminator(1, width=2, n_layers=1) for name in ("discriminator_a", "discriminator_b")}
    return CycleGAN(**{**networks, "generator_optimizer": SGD, "discriminator_optimizer": SGD, **options})


def batch(size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    real_a, real_b = torch.rand(2, size, 1, SIDE, SIDE, generator=random) * 2 - 1
    return real_a, real_b * 0.5 + 0.5


def quiet(**options) -> Trainer:
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(accelerator="cpu", **{"max_epochs": 1, **off, **options})


def train(model: CycleGAN, batches: int = 1, size: int = 4, ckpt_path=None, **options) -> Trainer:
    trainer = quiet(**options)
    trainer.fit(model, DataLoader([batch(size)] * batches, batch_size=None), ckpt_path=ckpt_path)
    return trainer


def descend(loss: torch.Tensor, *networks: nn.Module) -> None:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data.sub_(0.1 * gradient)


# ---- The step


@pytest.mark.parametrize("identity_weight", [0.0, 0.5])
@pytest.mark.parametrize("loss", [LeastSquaresLoss(), HingeLoss()])
def test_one_step_is_the_two_updates_by_hand(identity_weight: float, loss) -> None:
    options = {"identity_weight": identity_weight, "loss": loss, "cycle_weight": 3.0}
    model, twin = make(**options), make(**options)
    train(model)
    (a, b), g, f = batch(), twin.generator_ab, twin.generator_ba
    fake_a, fake_b = f(b), g(a)
    cycle = (f(fake_b) - a).abs().mean() + (g(fake_a) - b).abs().mean()
    identity = (f(a) - a).abs().mean() + (g(b) - b).abs().mean()
    games = [loss.generator_loss(d(x)) for d, x in ((twin.discriminator_a, fake_a), (twin.discriminator_b, fake_b))]
    descend(sum(games) + 3 * cycle + 3 * identity_weight * identity, g, f)
    for d, real, fake in ((twin.discriminator_a, a, fake_a), (twin.discriminator_b, b, fake_b)):
        descend(
            loss.discriminator_loss(d(real), d(fake.detach())), d
        )  # the pool is not full: it hands out what came in
    for (name, found), expected in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)


def test_generators_that_change_nothing_have_no_cycle_loss() -> None:
    model = make(generator_ab=Scale(), generator_ba=Scale())
    trainer = quiet()
    trainer.test(model, DataLoader([batch()], batch_size=None), verbose=False)
    assert [trainer.callback_metrics[f"test/{name}"] for name in ("cycle_l1", "cycle_l1_a", "identity_l1")] == [0, 0, 0]
    # there and back by the inverse is a cycle as well, but no identity
    model = make(generator_ab=Scale(2.0), generator_ba=Scale(0.5))
    trainer.test(model, DataLoader([batch()], batch_size=None), verbose=False)
    assert trainer.callback_metrics["test/cycle_l1"] == 0
    a, b = batch()
    expected = (0.5 * a.abs().mean() + b.abs().mean()) / 2
    torch.testing.assert_close(trainer.callback_metrics["test/identity_l1"], expected)


def test_without_an_identity_term_its_forward_is_saved() -> None:
    calls: list[int] = []
    for weight in (0.0, 0.5):
        model = make(identity_weight=weight)
        model.generator_ab.register_forward_hook(lambda *_: calls.append(1))
        train(model)
        calls.append(0)
    assert calls == [1, 1, 0, 1, 1, 1, 0]


def test_the_discriminators_take_no_gradients_in_the_generators_update() -> None:
    model, learns = make(), []
    model.discriminator_a.register_forward_hook(lambda network, *_: learns.append(network.head.weight.requires_grad))
    train(model)
    assert learns == [False, True, True]  # fakes for the generators; reals and fakes for itself


def test_what_is_logged() -> None:
    model = make()
    trainer = quiet(max_epochs=1, log_every_n_steps=1)
    loader = DataLoader([batch()], batch_size=None)
    trainer.fit(model, loader, loader)
    assert {f"train/{name}" for name in (
        "generator_loss", "discriminator_a_loss", "discriminator_b_loss", "cycle_l1", "identity_l1",
        "generators_gradient_norm", "discriminators_gradient_norm", "real_accuracy_a", "fake_accuracy_b",
    )} <= trainer.callback_metrics.keys()  # fmt: skip
    assert {f"val/{name}" for name in (
        "cycle_l1_a", "cycle_l1_b", "cycle_l1", "identity_l1", "real_accuracy_a", "fake_accuracy_a", "real_accuracy_b",
    )} <= trainer.callback_metrics.keys()  # fmt: skip


class Says(nn.Module):
    """A discriminator that says the mean of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x.mean((1, 2, 3))


def test_accuracy_counts_from_the_losss_boundary() -> None:
    real = torch.full((4, 1, SIDE, SIDE), 0.4)
    real[0] = 0.6
    model = make(generator_ab=Scale(), generator_ba=Scale(), discriminator_a=Says(), discriminator_b=Says())
    for loss, share in ((LeastSquaresLoss(), 0.25), (HingeLoss(), 1.0)):
        model.loss, trainer = loss, quiet()
        trainer.test(model, DataLoader([(real, -real)], batch_size=None), verbose=False)
        assert trainer.callback_metrics["test/real_accuracy_a"] == share
        assert trainer.callback_metrics["test/fake_accuracy_b"] == 1 - share
        assert trainer.callback_metrics["test/real_accuracy_b"] == 0


def test_gradients_are_clipped_by_optimizer() -> None:
    model = make(gradient_clip=0.01)
    before = [copy.deepcopy([*model.generator_ab.parameters(), *model.generator_ba.parameters()])]
    before.append(copy.deepcopy([*model.discriminator_a.parameters(), *model.discriminator_b.parameters()]))
    train(model)
    after = [[*model.generator_ab.parameters(), *model.generator_ba.parameters()]]
    after.append([*model.discriminator_a.parameters(), *model.discriminator_b.parameters()])
    for old, new in zip(before, after, strict=True):
        step = torch.cat([(x - y).flatten() for x, y in zip(new, old, strict=True)]).norm().item()
        assert step == pytest.approx(0.1 * 0.01, rel=1e-3)  # learning rate times the greatest norm


def test_images_of_one_domain_are_counted() -> None:
    model = make(max_images=10)
    train(model, batches=8, size=4)
    assert model.images_seen == 12  # the batch that passes the mark is the last


# ---- The pool


def test_a_pool_hands_out_what_comes_in_until_it_is_full() -> None:
    pool = ImagePool(5)
    images = torch.arange(7.0).view(7, 1, 1, 1).requires_grad_()
    assert torch.equal(pool.exchange(images[:3]), images[:3])
    assert not pool.exchange(images[3:5]).requires_grad
    assert pool.images.flatten().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(ImagePool(0).exchange(images), images)


def test_a_full_pool_exchanges_half_and_loses_nothing() -> None:
    torch.manual_seed(0)
    pool, given, batches = ImagePool(50), [], 500
    for number in range(batches):
        images = torch.arange(4.0 * number, 4.0 * number + 4).view(4, 1, 1, 1)
        handed = pool.exchange(images)
        given += handed.flatten().tolist()
        if number > 20:
            assert len(pool.images) == 50
    # the first 50 are handed out at once and may come out a second time; all that came in has left or is still there
    counts = torch.bincount(torch.tensor([*given, *pool.images.flatten().tolist()]).long(), minlength=4 * batches)
    assert counts[:50].tolist() == [2] * 50
    assert counts[50:].tolist() == [1] * (4 * batches - 50)
    old = sum(value < 4 * (index // 4) for index, value in enumerate(given)) / len(given)
    assert old == pytest.approx(0.5, abs=0.05)


def test_images_of_another_size_begin_a_new_pool() -> None:
    pool = ImagePool(3)
    pool.exchange(torch.zeros(3, 1, 4, 4))
    pool.exchange(torch.ones(2, 1, 8, 8))
    assert pool.images.shape == (2, 1, 8, 8)


def test_the_discriminators_see_the_pool() -> None:
    model = make(pool_size=4)
    old = torch.full((4, 1, SIDE, SIDE), 0.25)
    model.pools["a"].images = old.clone()
    seen: list[torch.Tensor] = []
    model.discriminator_a.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    torch.manual_seed(1)
    train(model, size=4)
    shown = (seen[-1] == 0.25).flatten(1).all(1)
    kept = (model.pools["a"].images == 0.25).flatten(1).all(1)
    assert 0 < shown.sum() < 4
    assert kept.sum() < 4


class Pools(Callback):
    """What the pools hold when training starts."""

    def on_train_start(self, trainer, pl_module) -> None:
        self.images = {name: pool.images.clone() for name, pool in pl_module.pools.items()}


def test_a_resumed_run_has_the_pools_it_left(tmp_path) -> None:
    model = make(pool_size=6)
    torch.manual_seed(1)
    train(model, batches=5).save_checkpoint(tmp_path / "half.ckpt")
    stored = torch.load(tmp_path / "half.ckpt", weights_only=True)["image_pools"]
    assert stored["a"].shape == (1, 6, 1, SIDE, SIDE)
    resumed, pools = make(pool_size=6), Pools()
    train(resumed, batches=5, ckpt_path=tmp_path / "half.ckpt", max_epochs=2, callbacks=[pools])
    for name in "ab":
        assert torch.equal(pools.images[name], model.pools[name].images)
        assert not torch.equal(resumed.pools[name].images, model.pools[name].images)  # and goes on from there
    assert resumed.images_seen == 40


def test_a_run_and_its_two_halves_are_bit_equal(tmp_path) -> None:
    whole, first, second = (make(pool_size=3) for _ in range(3))
    for model, epochs, ckpt_path in ((whole, 2, None), (first, 1, None), (second, 2, tmp_path / "half.ckpt")):
        trainer = quiet(max_epochs=epochs, callbacks=[Reseed()])
        trainer.fit(model, DataLoader([batch()] * 3, batch_size=None), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "half.ckpt")
    for (name, found), expected in zip(second.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(found, expected), name


class Reseed(Callback):
    """The same random stream for a batch, whoever trains it."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        torch.manual_seed(pl_module.images_seen)


def test_every_process_gets_its_own_pool_back() -> None:
    pools = torch.arange(12.0).view(2, 6, 1, 1, 1)
    assert [deal(pools, rank, 2).flatten().tolist() for rank in (0, 1)] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


@pytest.mark.parametrize("processes", [1, 3, 5])
def test_another_number_of_processes_shares_the_pools_evenly(processes: int) -> None:
    shares = [deal(torch.arange(12.0).view(2, 6, 1, 1, 1), rank, processes) for rank in range(processes)]
    assert {len(share) for share in shares} == {12 // processes}
    dealt = torch.cat(shares).flatten().tolist()
    assert len(dealt) == len(set(dealt))


def test_the_pools_of_all_processes_are_saved(monkeypatch) -> None:
    model, checkpoint = make(), {"state_dict": {}}
    model.pools["a"].images = torch.ones(3, 1, 2, 2)
    monkeypatch.setattr(model, "all_gather", lambda images: torch.stack([images, 2 * images]))
    model.on_save_checkpoint(checkpoint)
    assert checkpoint["image_pools"]["a"].shape == (2, 3, 1, 2, 2)
    assert checkpoint["image_pools"]["a"][1].unique().tolist() == [2]
    assert "b" not in checkpoint["image_pools"]


# ---- Translation


def test_translation_uses_the_averages_and_puts_every_mode_back() -> None:
    model = make()
    a, b = batch()
    plain = model.translate(a)
    torch.testing.assert_close(plain, model.generator_ab(a))
    EMA(modules=["generator_ab", "generator_ba"]).setup(None, model, "fit")
    model.generator_ab.reset_parameters()
    model.train()
    model.generator_ab.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    made = model.translate(a)
    assert torch.equal(made, plain)
    assert not made.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.cycle(a), model.translate(made, to="a"))
    assert torch.equal(model.cycle(b, to="a"), model.translate(model.translate(b, to="a"), to="b"))
    with pytest.raises(UserError, match="no domain 'c'.*to=\"b\""):
        model.translate(a, to="c")


@pytest.mark.parametrize("mode", CycleGAN.modes)
def test_made_are_source_translation_and_reconstruction(mode: str) -> None:
    model, (a, b) = make(), batch(5)
    images = a if mode == "a_to_b" else b
    for source in ([(a[:3], b[:3]), (a[3:], b[3:])], [(images,)]):
        parts = list(model.make(mode, 4, batch_size=2, source=source))
        assert all(len(part.images) <= 2 for part in parts)
        panels = torch.cat([part.panels for part in parts])
        assert panels.shape == (4, 3, 1, SIDE, SIDE)
        assert torch.equal(panels[:, 0], images[:4])
        torch.testing.assert_close(panels[:, 1], model.translate(images[:4], to=mode[-1]))
        torch.testing.assert_close(panels[:, 2], model.cycle(images[:4], to=mode[-1]))
        assert torch.equal(torch.cat([part.images for part in parts]), panels[:, 1])


def test_what_cannot_be_made() -> None:
    with pytest.raises(UserError, match="no mode 'sample'.*a_to_b, b_to_a"):
        next(make().make("sample", 2, source=[batch()]))
    with pytest.raises(UserError, match="needs images to translate"):
        next(make().make("a_to_b", 2))


# ---- Checkpoints


def test_a_model_and_its_generators_come_back_from_the_checkpoint_alone(tmp_path) -> None:
    model = make(generator_optimizer=partial(torch.optim.Adam, lr=1e-3), pool_size=7, identity_weight=0.25)
    train(model, batches=4, callbacks=[EMA(modules=["generator_ab", "generator_ba"], half_life=1e9, ramp_up=None)]) \
        .save_checkpoint(tmp_path / "mine.ckpt")  # fmt: skip
    again = lit_gen.load(tmp_path / "mine.ckpt")
    assert isinstance(again, CycleGAN)
    assert (again.images_seen, again.pool_size, again.identity_weight, again.generator_ab.width) == (16, 7, 0.25, 2)
    a, _ = batch()
    assert torch.equal(again.translate(a), model.translate(a))
    generator = lit_gen.load(tmp_path / "mine.ckpt", module="generator_ab")
    assert isinstance(generator, TranslationGenerator)
    assert torch.equal(generator(a), model.translate(a))
    assert not torch.equal(generator(a), model.eval().generator_ab(a))  # the average, not the last weights
    judge = lit_gen.load(tmp_path / "mine.ckpt", module="discriminator_b")
    assert torch.equal(judge(a), model.discriminator_b(a))


# ---- Mistakes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cycle_weight": -1.0}, "cycle_weight is -1.0, expected 0 or more"),
        ({"identity_weight": -1.0}, "identity_weight is -1.0"),
        ({"pool_size": -1}, "pool_size is -1.*--model.pool_size 50"),
        ({"max_images": 0}, "max_images is 0"),
        ({"gradient_clip": 0.0}, "gradient_clip is 0.0"),
    ],
)
def test_arguments_out_of_range(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(**options)


class Data(LightningDataModule):
    """Nothing but the shape of its images."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.image_shape = shape

    def train_dataloader(self) -> DataLoader:
        return DataLoader([batch()], batch_size=None)


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({"generator_ba": TranslationGenerator(3, 2, 1)}, (1, 8, 8), "generator_ba does not take .* 1x8x8"),
        ({"discriminator_b": PatchDiscriminator(3, 2, 1)}, (1, 8, 8), "discriminator_b does not take .* 1x8x8"),
        ({"generator_ab": nn.Upsample(scale_factor=2)}, (1, 8, 8), "generator_ab makes 1x16x16"),
        ({}, (1, 10, 10), "10x10 pixels, expected sides that 4 divides"),
    ],
)
def test_networks_that_do_not_fit_the_data(options: dict, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        quiet().fit(make(**options), datamodule=Data(*shape))


def test_clipping_scaled_gradients_is_refused() -> None:
    model = make(gradient_clip=1.0)
    model.trainer = quiet()
    assert len(model.configure_optimizers()) == 2
    model.trainer.strategy.precision_plugin.precision = "16-mixed"
    with pytest.raises(UserError, match="bf16-mixed"):
        model.configure_optimizers()


def test_both_networks_of_a_kind_share_one_optimizer() -> None:
    model = make()
    model.trainer = quiet()
    counts = [len(list(network.parameters())) for network in (model.generator_ab, model.discriminator_a)]
    groups = [optimizer.param_groups[0]["params"] for optimizer in model.configure_optimizers()]
    assert [len(group) for group in groups] == [2 * count for count in counts]


def test_the_least_squares_games_balance() -> None:
    """With the boundary halfway, D's best constant says 1/2: the loss there is a quarter, as G's is an eighth."""
    loss, half = LeastSquaresLoss(), torch.full((3, 1, 2, 2), 0.5)
    assert loss.boundary == 0.5
    torch.testing.assert_close(loss.discriminator_loss(half, half), torch.tensor(0.25))
    torch.testing.assert_close(loss.generator_loss(half), F.mse_loss(half, torch.ones_like(half)) / 2)
