"""What breaks is found within a few batches, named, and never written over what was whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, make, train
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_gen.callbacks.divergence_watch import IN_A_ROW, Diverged, DivergenceWatch
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.errors import UserError
from lit_gen.networks.dcgan import DCGANDiscriminator


class Break(Callback):
    """Changes the model at the end of one batch, or of several from it on."""

    def __init__(self, change: Any, at: int = 3, times: int = 1) -> None:
        self.change, self.at, self.times = change, at, times

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop.total_batch_idx >= self.at and self.times:
            self.times -= 1
            with torch.no_grad():
                self.change(pl_module)


def weight_of(model: LightningModule, name: str) -> torch.Tensor:
    return dict(model.named_parameters())[name]


def poison(name: str, value: float, model: LightningModule) -> None:
    weight_of(model, name).view(-1)[0] = value


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_ends_the_run_at_once(family: str, value: float) -> None:
    model = make(family)
    name = next(name for name, _ in model.named_parameters())
    with pytest.raises(Diverged, match="has broken: at (16|20) images the (loss|gradient) of .* is (nan|inf)"):
        train(model, family, Break(partial(poison, name, value)), DivergenceWatch(), batches=9)
    assert model.images_seen == 20  # the batch after the fourth, and not one more


@pytest.mark.parametrize("family", FAMILIES)
def test_a_healthy_run_is_left_alone(family: str) -> None:
    model, other = make(family), make(family)
    train(model, family, DivergenceWatch(), batches=8)
    train(other, family, batches=8)
    assert all(torch.equal(x, y) for x, y in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_first_gradient_is_named_where_the_loss_is_whole() -> None:
    model = make("gan")
    last = list(dict(model.generator.named_parameters()))[-1]
    weight_of(model, f"generator.{last}").register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(Diverged, match=rf"at 0 images the gradient of generator\.{last} is nan"):
        train(model, "gan", DivergenceWatch())


def test_a_discriminator_that_says_the_same_of_all_images_has_collapsed() -> None:
    model = make("gan", discriminator_optimizer=partial(torch.optim.SGD, lr=0.0))
    model.discriminator = DCGANDiscriminator(image_size=28, channels=1, width=2, normalization="none")
    dead = Break(lambda model: model.discriminator.head.weight.zero_(), at=5, times=-1)
    with pytest.raises(Diverged, match="discriminator has collapsed: the generator gets a gradient of"):
        train(model, "gan", dead, DivergenceWatch(), batches=IN_A_ROW + 10)
    assert model.images_seen == 4 * (6 + IN_A_ROW)


def judged(watch: DivergenceWatch, *losses: float, network: str = "discriminator") -> list[str | None]:
    return [watch.judge(network, ["loss", "x"], [loss, 1.0], scaled=False) for loss in losses]


def test_an_explosion_is_many_huge_losses_in_a_row() -> None:
    watch = DivergenceWatch(explosion=100)
    assert judged(watch, 0.5, 0.7, 0.6, *[1e3] * (IN_A_ROW - 1), 0.5) == [None] * (IN_A_ROW + 3)  # it came back
    told = judged(watch, *[-1e3] * IN_A_ROW)
    assert told[:-1] == [None] * (IN_A_ROW - 1)
    assert told[-1] == "the loss of the discriminator has exploded to 1e+03, from 0.5"
    falling = DivergenceWatch(explosion=100)
    assert judged(falling, *[1e4 / (1 + i) for i in range(60)]) == [None] * 60
    assert judged(DivergenceWatch(), 0.0, 0.0, *[900.0] * 40) == [None] * 42  # below 1 a ratio says nothing


def test_a_loss_scaler_may_find_its_scale() -> None:
    watch = DivergenceWatch()
    told = [watch.judge("vae", ["loss", "x"], [1.0, float("inf")], scaled=True) for _ in range(21)]
    assert told[:IN_A_ROW] == [None] * IN_A_ROW and told[IN_A_ROW] == "the gradient of x is inf"
    assert watch.judge("vae", ["loss", "x"], [float("nan"), 1.0], scaled=True)


def test_a_broken_model_is_not_written_over_a_whole_one(tmp_path: Path) -> None:
    model = make("gan")
    spoil = Break(lambda model: next(model.generator.buffers()).fill_(float("nan")), at=5)  # no loss shows it
    with pytest.raises(Diverged, match=r"generator\.\S+ is not finite"):
        train(
            model,
            "gan",
            spoil,
            DivergenceWatch(),
            LastCheckpoint(every=8),
            batches=9,
            default_root_dir=tmp_path,
            enable_checkpointing=True,
        )
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["images_seen"] == 16 and {path.name for path in tmp_path.iterdir()} == {
        "last.ckpt",
        "last.previous.ckpt",
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_on_request_it_goes_back_and_on_more_slowly(family: str, tmp_path: Path) -> None:
    model = make(family)
    name = next(n for n, _ in model.named_parameters())
    breaks = Break(partial(poison, name, float("nan")), at=5, times=2)
    watch = DivergenceWatch(roll_back=True, lr_factor=0.5)
    trainer = train(
        model,
        family,
        breaks,
        watch,
        LastCheckpoint(every=8),
        batches=12,
        default_root_dir=tmp_path,
        enable_checkpointing=True,
    )
    assert model.images_seen == 48 and watch.rolled_back == 2
    assert all(value.isfinite().all() for value in model.state_dict().values())
    rates = {group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups}
    assert rates == {(1e-3 if family == "vae" else 0.05) / 4}


def test_enough_is_enough(tmp_path: Path) -> None:
    breaks = Break(partial(poison, "generator.head.weight", float("nan")), at=5, times=-1)
    watch = DivergenceWatch(roll_back=True, most=2)
    with pytest.raises(Diverged, match="gone back to a checkpoint already"):
        train(
            make("gan"),
            "gan",
            breaks,
            watch,
            LastCheckpoint(every=8),
            batches=30,
            default_root_dir=tmp_path,
            enable_checkpointing=True,
        )
    assert watch.rolled_back == 2


def test_without_a_checkpoint_it_ends(tmp_path: Path) -> None:
    breaks = Break(partial(poison, "generator.head.weight", float("nan")), at=1)
    with pytest.raises(Diverged, match="no checkpoint yet that roll_back could go back to") as broken:
        train(
            make("gan"),
            "gan",
            breaks,
            DivergenceWatch(roll_back=True),
            batches=4,
            default_root_dir=tmp_path,
            enable_checkpointing=True,
        )
    assert "--trainer.callbacks.roll_back" not in str(broken.value), "it is set already"


@pytest.mark.parametrize(
    ("options", "told"),
    [({"lr_factor": 1.0}, r"in \(0, 1\)"), ({"most": 0}, "at least 1"), ({"explosion": 1}, "above")],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        DivergenceWatch(**options)
